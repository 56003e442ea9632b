//! Names into addresses that the policy allows: the connection is made to one of these and no other.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::target::{Host, Target};
use crate::{Error, Policy};

/// Of the addresses that a name has, as many are tried.
const MOST_ADDRESSES: usize = 16;
/// The system's resolver cannot be interrupted: one that hangs may keep this many threads, not any number.
const MOST_LOOKUPS: usize = 64;

/// Resolves the hosts of requests under a policy.
#[derive(Clone)]
pub struct Guarded {
    policy: Arc<Policy>,
    lookups: Arc<AtomicUsize>,
}

impl Guarded {
    pub fn new(policy: Arc<Policy>, lookups: Arc<AtomicUsize>) -> Self {
        Guarded { policy, lookups }
    }

    fn addresses(&self, target: &Target, timeout: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
        let refused = |error: Error| ureq::Error::Other(Box::new(error));
        self.policy.check(target).map_err(refused)?;
        let all = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(name, target.port, timeout)?,
        };
        if all.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        let mut allowed = Vec::new();
        let mut problem = None;
        for address in all {
            match self.policy.check_address(target, address) {
                Ok(()) => allowed.push(SocketAddr::new(address, target.port)),
                Err(error) => problem = Some(error),
            }
        }
        match problem {
            Some(error) if allowed.is_empty() => Err(refused(error)),
            _ => Ok(allowed),
        }
    }

    fn look_up(&self, name: &str, port: u16, timeout: Duration) -> Result<Vec<IpAddr>, ureq::Error> {
        let slot = Slot::take(&self.lookups)
            .ok_or_else(|| io::Error::other("too many names are being looked up, which does not end"))?;
        let (sender, receiver) = sync_channel(1);
        let host = name.to_owned();
        thread::Builder::new()
            .name(String::from("cvx lookup"))
            .spawn(move || {
                let found = (host.as_str(), port).to_socket_addrs();
                let found = found.map(|all| all.map(|it| it.ip()).collect::<Vec<_>>());
                drop(slot);
                // Who asked may have given up.
                let _ = sender.send(found);
            })?;
        match receiver.recv_timeout(timeout) {
            // The system's texts are of many kinds, and none says more.
            Ok(found) => found.map_err(|_| ureq::Error::HostNotFound),
            Err(_) => Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
        }
    }
}

/// One of the lookups that may be under way.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Slot(Arc::clone(count));
        let before = count.fetch_add(1, Ordering::Relaxed);
        (before < MOST_LOOKUPS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let target = Target::of(uri).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut resolved = self.empty();
        let addresses = self.addresses(&target, *timeout.after)?;
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            resolved.push(address);
        }
        Ok(resolved)
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

//! Answers without end.

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::{Receiver, Sending, TIMEOUT, local, peak_rss, request, send, timed};
use cvx_webhooks::Outcome;

static ALONE: Mutex<()> = Mutex::new(());

/// Memory is that of the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends `head` and then `more` for ever. How much of it went out.
fn endless(head: &'static [u8], more: Vec<u8>) -> (Receiver, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let receiver = Receiver::start(move |_, stream| {
        let mut next = stream.write_all(head);
        while next.is_ok() && count.load(Ordering::SeqCst) < 1 << 30 {
            next = stream.write_all(&more);
            count.fetch_add(more.len(), Ordering::SeqCst);
        }
        false
    });
    (receiver, sent)
}

/// What an answer may cost, in memory and on the way.
const MOST: usize = 16 << 20;

/// Gigabytes are on offer; what is taken is what fits into the buffers of sockets.
#[test]
fn answers_without_end_are_cut() {
    let _alone = alone();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let chunked = b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let accepted = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let plain = b"HTTP/1.1 500 x\r\n\r\n";
    let header = b"HTTP/1.1 200 OK\r\n";
    let before = peak_rss();
    for (head, more) in [
        (chunked.as_slice(), chunk.clone()),
        (accepted, chunk),
        (plain, vec![b'x'; 0x10000]),
        (header, b"X-Filler: abcdefghijklmnopqrstuvwxyz\r\n".repeat(1000)),
        (header, vec![b'x'; 0x10000]),
    ] {
        let name = String::from_utf8_lossy(head).into_owned();
        let (receiver, sent) = endless(head, more);
        let (outcome, took) = timed(|| send(request(&receiver.url())));
        match outcome {
            Outcome::Delivered { status } => assert_eq!((status, head), (200, accepted.as_slice())),
            Outcome::Retry { error, .. } => assert!(error.len() < 1000, "{error}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(took < TIMEOUT / 2, "{name}: {took:?}");
        let sent = sent.load(Ordering::SeqCst);
        assert!(sent < MOST, "{name}: {sent} bytes");
    }
    let grown = peak_rss().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes");
}

/// Nobody asked for a compressed answer; one that comes all the same is not expanded beyond what is read.
#[test]
fn a_compressed_answer_does_not_expand() {
    let _alone = alone();
    let bomb = gzip_of_zeros();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let receiver = Receiver::start(move |_, stream| {
        let head = "HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&bomb));
        false
    });
    let before = peak_rss();
    let outcome = send(request(&receiver.url()));
    assert!(
        matches!(
            outcome,
            Outcome::Retry {
                status: Some(500),
                ..
            }
        ),
        "{outcome:?}"
    );
    assert!(peak_rss().saturating_sub(before) < MOST);
}

/// A gzip stream of one fixed-code block that repeats a zero byte: 258 bytes for each 12 bits.
fn gzip_of_zeros() -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut hold, mut count) = (0u64, 0);
    let mut put = |bits: u64, length: u32| {
        hold |= bits << count;
        count += length;
        while count >= 8 {
            out.push(hold as u8);
            hold >>= 8;
            count -= 8;
        }
    };
    // Last block with fixed codes; the literal 0 has the code 00110000.
    put(1, 1);
    put(1, 2);
    put(0b0000_1100, 8);
    for _ in 0..(32 << 20) / 258 {
        // Length 258 is the code 11000101, bit by bit from its first; distance 1 is 00000.
        put(0b1010_0011, 8);
        put(0, 5);
    }
    put(0, 7);
    put(0, 7);
    out
}

/// The timeout is that of the whole, however it is drawn out.
#[test]
fn answers_that_never_come_to_their_point_are_given_up() {
    let _alone = alone();
    let drip = |pause| {
        Receiver::start(move |_, stream| {
            let mut next = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ");
            while next.is_ok() {
                thread::sleep(pause);
                next = stream.write_all(b"x");
            }
            false
        })
    };
    let (informing, _) = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
    let timeout = Duration::from_millis(500);
    for receiver in [
        drip(Duration::from_millis(20)),
        drip(Duration::from_millis(400)),
        informing,
    ] {
        let before = peak_rss();
        let (outcome, took) = timed(|| Sending::new(1).send(&local(), timeout, request(&receiver.url())));
        assert!(
            matches!(outcome, Outcome::Retry { status: None, .. }),
            "{outcome:?}"
        );
        assert!(took < 3 * timeout, "{took:?}");
        let grown = peak_rss().saturating_sub(before);
        assert!(grown < MOST, "{grown} bytes");
    }
}

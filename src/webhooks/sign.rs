//! Signatures by the scheme of Standard Webhooks.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::hmac;

use crate::Error;

const PREFIX: &str = "whsec_";

/// The value of webhook-signature: a version, and the HMAC-SHA256 of what is sent.
pub fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> Result<String, Error> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key(secret)?);
    let mut context = hmac::Context::with_key(&key);
    for part in [id, ".", timestamp, ".", body] {
        context.update(part.as_bytes());
    }
    Ok(format!("v1,{}", STANDARD.encode(context.sign())))
}

/// The bytes of a secret, which are base64 behind the scheme's prefix.
fn key(secret: &str) -> Result<Vec<u8>, Error> {
    let Some(encoded) = secret.strip_prefix(PREFIX) else {
        if secret.is_empty() {
            return Err(Error::Secret { problem: "is empty" });
        }
        return Ok(secret.as_bytes().to_vec());
    };
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, lenient)
        .decode(encoded)
        .ok()
        .filter(|it| !it.is_empty())
        .ok_or(Error::Secret {
            problem: "is not base64 behind whsec_",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's reference libraries.
    #[test]
    fn example_of_standard_webhooks() {
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets() {
        assert_eq!(key("plain").unwrap(), b"plain");
        assert_eq!(key("whsec_AAE=").unwrap(), key("whsec_AAE").unwrap());
        for wrong in ["", "whsec_", "whsec_!!"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }
}

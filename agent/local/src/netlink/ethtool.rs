//! ethtool: what a port takes off the kernel's hands.

use std::collections::BTreeSet;

use super::message::{MessageError, attributes};
use super::socket::dump;
use crate::Fact;

/// The features of one port, by the kernel's names (`tx-checksum-ipv4`, `hw-tc-offload`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// The port's name.
    pub port: String,
    /// In use.
    pub active: BTreeSet<String>,
    /// Those that can be turned on and off: the port can do them.
    pub changeable: BTreeSet<String>,
}

/// The features of every port in this network namespace; before Linux 5.7 not offered.
pub fn offloads() -> Fact<Vec<Features>> {
    const FEATURES_GET: u8 = 11;
    const HEADER: u16 = 1;
    dump("ethtool", FEATURES_GET, 1, Some((HEADER | NESTED, &[]))).and_then(|answers| {
        let parsed: Result<Vec<_>, MessageError> =
            answers.iter().map(|answer| parse(answer)).collect();
        match parsed {
            Ok(ports) => Fact::Known(ports.into_iter().flatten().collect()),
            Err(error) => Fact::NotRead(format!("ethtool: {error}")),
        }
    })
}

/// The kernel expects it on what holds attributes.
const NESTED: u16 = 1 << 15;

/// Parses the attributes of one answer; `None` when it names no port.
///
/// # Errors
/// When they are cut off.
pub fn parse(payload: &[u8]) -> Result<Option<Features>, MessageError> {
    const HEADER: u16 = 1;
    const NAME: u16 = 2;
    const CHANGEABLE: u16 = 2;
    const ACTIVE: u16 = 4;
    const NEVER_CHANGED: u16 = 5;
    let mut features = Features::default();
    let mut fixed = BTreeSet::new();
    let mut named = false;
    for attribute in attributes(payload) {
        let attribute = attribute?;
        match attribute.kind {
            HEADER => {
                for inner in attributes(attribute.payload) {
                    let inner = inner?;
                    if inner.kind == NAME {
                        features.port = inner.text();
                        named = true;
                    }
                }
            }
            CHANGEABLE => features.changeable = bits(attribute.payload)?,
            ACTIVE => features.active = bits(attribute.payload)?,
            NEVER_CHANGED => fixed = bits(attribute.payload)?,
            _ => {}
        }
    }
    features.changeable.retain(|name| !fixed.contains(name));
    Ok(named.then_some(features))
}

/// The names of a set's bits. In a set with a mask a bit that is listed may be off; in one
/// without, every listed bit is on.
fn bits(payload: &[u8]) -> Result<BTreeSet<String>, MessageError> {
    const NO_MASK: u16 = 1;
    const BITS: u16 = 3;
    const NAME: u16 = 2;
    const VALUE: u16 = 3;
    let mut set = BTreeSet::new();
    let mut listed_is_on = false;
    for attribute in attributes(payload) {
        listed_is_on |= attribute?.kind == NO_MASK;
    }
    for attribute in attributes(payload) {
        let attribute = attribute?;
        if attribute.kind != BITS {
            continue;
        }
        for bit in attributes(attribute.payload) {
            let (mut name, mut on) = (None, listed_is_on);
            for part in attributes(bit?.payload) {
                let part = part?;
                match part.kind {
                    NAME => name = Some(part.text()),
                    VALUE => on = true,
                    _ => {}
                }
            }
            if on {
                set.extend(name);
            }
        }
    }
    Ok(set)
}

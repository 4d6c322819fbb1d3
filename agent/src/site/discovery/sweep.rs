//! Going through the addresses of ranges, each at most once an interval. Pure.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpAddrRange, IpNet};
use tokio::time::Instant;

/// An address to knock at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// The address.
    pub(super) ip: IpAddr,
    /// Its ports.
    pub(super) ports: Vec<u16>,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.ip, self.ports)
    }
}

/// The scan of all ranges.
#[derive(Debug)]
pub(super) struct Sweep {
    ranges: Vec<(IpNet, Vec<u16>)>,
    interval: Duration,
    /// The range that is gone through and what is left of it.
    place: Option<(usize, IpAddrRange)>,
    begins: Instant,
    under_way: usize,
    silent: usize,
    /// Addresses where nothing listened in the last whole scan.
    last_silent: Option<usize>,
}

impl Sweep {
    pub(super) fn new(ranges: Vec<(IpNet, Vec<u16>)>, interval: Duration, now: Instant) -> Self {
        let nothing = ranges.is_empty();
        Self {
            ranges,
            interval,
            place: None,
            begins: now,
            under_way: 0,
            silent: 0,
            last_silent: nothing.then_some(0),
        }
    }

    /// Addresses where nothing listened; `None` before the first scan has ended.
    pub(super) fn silent(&self) -> Option<usize> {
        self.last_silent
    }

    /// When it goes on without anything else happening.
    pub(super) fn wake(&self) -> Option<Instant> {
        (!self.ranges.is_empty() && self.place.is_none() && self.under_way == 0)
            .then_some(self.begins)
    }

    /// The next address, if one is to be knocked at now. Overlapping ranges name an address
    /// once: `is_of` says whether it belongs to the range at hand.
    pub(super) fn next(
        &mut self,
        now: Instant,
        is_of: impl Fn(IpAddr, &IpNet, &[u16]) -> bool,
    ) -> Option<Door> {
        if self.ranges.is_empty() {
            return None;
        }
        if self.place.is_none() {
            if self.under_way > 0 || now < self.begins {
                return None;
            }
            self.begins = now + self.interval;
            self.silent = 0;
            self.place = Some((0, self.ranges[0].0.hosts()));
        }
        while let Some((at, rest)) = &mut self.place {
            let (network, ports) = &self.ranges[*at];
            if let Some(ip) = rest.find(|ip| is_of(*ip, network, ports)) {
                self.under_way += 1;
                return Some(Door {
                    ip,
                    ports: ports.clone(),
                });
            }
            let next = *at + 1;
            self.place = self
                .ranges
                .get(next)
                .map(|(network, _)| (next, network.hosts()));
        }
        self.ended();
        None
    }

    /// What became of a knock.
    pub(super) fn knocked(&mut self, nothing_listens: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if nothing_listens {
            self.silent += 1;
        }
        self.ended();
    }

    fn ended(&mut self) {
        if self.place.is_none() && self.under_way == 0 {
            self.last_silent = Some(self.silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn sweep(networks: &[&str], now: Instant) -> Sweep {
        let ranges = networks
            .iter()
            .map(|network| (network.parse().unwrap(), vec![443]))
            .collect();
        Sweep::new(ranges, HOUR, now)
    }

    fn all(sweep: &mut Sweep, now: Instant) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(door) = sweep.next(now, |_, _, _| true) {
            found.push(door.ip.to_string());
        }
        found
    }

    #[test]
    fn every_address_is_knocked_at_once_an_interval() {
        let start = Instant::now();
        let mut sweep = sweep(&["10.0.0.0/30", "fd00::/127", "10.0.0.9/32"], start);
        let addresses = ["10.0.0.1", "10.0.0.2", "fd00::", "fd00::1", "10.0.0.9"];
        assert_eq!(all(&mut sweep, start), addresses);
        assert_eq!(all(&mut sweep, start + HOUR * 2), Vec::<String>::new());
        assert_eq!((sweep.silent(), sweep.wake()), (None, None));
        for answers in [true, false, false, true, false] {
            sweep.knocked(!answers);
        }
        assert_eq!(sweep.silent(), Some(3));
        assert_eq!(sweep.wake(), Some(start + HOUR));
        assert_eq!(all(&mut sweep, start + HOUR / 2), Vec::<String>::new());
        assert_eq!(all(&mut sweep, start + HOUR), addresses);
        assert_eq!(sweep.silent(), Some(3));
    }

    #[test]
    fn a_long_scan_is_not_begun_again_before_it_has_ended() {
        let start = Instant::now();
        let mut sweep = sweep(&["10.0.0.0/29"], start);
        assert!(sweep.next(start, |_, _, _| true).is_some());
        let late = start + HOUR * 3;
        let rest = all(&mut sweep, late);
        assert_eq!(rest.len(), 5);
        for _ in 0..6 {
            assert_eq!(sweep.next(late, |_, _, _| true), None);
            sweep.knocked(true);
        }
        assert_eq!(all(&mut sweep, late).len(), 6);
    }

    #[test]
    fn what_belongs_to_another_range_is_left_to_it() {
        let start = Instant::now();
        let mut sweep = sweep(&["10.0.0.0/29", "10.0.0.4/31"], start);
        let narrow: IpNet = "10.0.0.4/31".parse().unwrap();
        let mut found = Vec::new();
        while let Some(door) = sweep.next(start, |ip, of, _| *of == narrow || !narrow.contains(&ip))
        {
            found.push(door.ip.to_string());
        }
        assert_eq!(
            found,
            [
                "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.6", "10.0.0.4", "10.0.0.5"
            ]
        );
    }

    #[test]
    fn without_ranges_nothing_is_ever_knocked_at() {
        let start = Instant::now();
        let mut sweep = sweep(&[], start);
        assert_eq!(sweep.next(start, |_, _, _| true), None);
        assert_eq!((sweep.silent(), sweep.wake()), (Some(0), None));
    }
}

//! `Range` requests as RFC 9110 wants them, one range at most.

use std::ops::Range;

/// Which bytes a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requested {
    /// No range, one that we need not honour, or several.
    Whole,
    /// One range, cut to the size; never empty.
    Part(Range<u64>),
    /// A valid range that the image does not reach.
    Unsatisfiable,
}

/// Reads a `Range` header for something of `size` bytes.
pub(crate) fn requested(header: &str, size: u64) -> Requested {
    let Some((unit, ranges)) = header.split_once('=') else {
        return Requested::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Requested::Whole;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else {
        return Requested::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Beyond u64 is beyond every image.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        (_, _) => return Requested::Whole,
    };
    if range.start < range.end {
        Requested::Part(range)
    } else {
        Requested::Unsatisfiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, expected) in [
            ("bytes=0-0", Requested::Part(0..1)),
            ("bytes=0-99", Requested::Part(0..100)),
            ("bytes=10-", Requested::Part(10..100)),
            ("bytes=-10", Requested::Part(90..100)),
            ("bytes=-1000", Requested::Part(0..100)),
            ("bytes=90-1000", Requested::Part(90..100)),
            ("Bytes = 1-2", Requested::Part(1..3)),
            ("bytes=5-99999999999999999999999", Requested::Part(5..100)),
            ("bytes=100-", Requested::Unsatisfiable),
            ("bytes=100-200", Requested::Unsatisfiable),
            ("bytes=99999999999999999999999-", Requested::Unsatisfiable),
            ("bytes=-0", Requested::Unsatisfiable),
            ("bytes=2-1", Requested::Whole),
            ("bytes=-", Requested::Whole),
            ("bytes=", Requested::Whole),
            ("bytes=a-b", Requested::Whole),
            ("bytes=+1-2", Requested::Whole),
            ("bytes=0-1,4-5", Requested::Whole),
            ("items=0-1", Requested::Whole),
            ("nonsense", Requested::Whole),
        ] {
            assert_eq!(requested(header, 100), expected, "{header}");
        }
        assert_eq!(requested("bytes=0-", 0), Requested::Unsatisfiable);
        assert_eq!(requested("bytes=-5", 0), Requested::Unsatisfiable);
    }
}

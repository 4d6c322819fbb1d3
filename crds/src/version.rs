//! How versions compare. Makers write them as they like, so this says less rather than guess.
//!
//! A version is read as fields between anything but letters, digits, brackets and tildes. Fields before
//! the first number are its word (`BF` of `BF-24.10-10`); a `v` before a digit is none. The
//! numbers that follow are compared one by one as numbers, and the first that differs decides;
//! missing ones count as zero. What comes after the numbers (`rc1`, a commit) has no order: where
//! it could decide, nothing is said. A version with a word is compared only with the same word,
//! or with a bound that has none.

use std::cmp::Ordering;

/// Whether a version that is seen is the one that is wanted.
pub fn is(seen: &str, wanted: &str) -> bool {
    compare(seen, wanted) == Some(Ordering::Equal)
}

/// How a version that is seen compares with a bound; `None` where that cannot be told.
pub fn compare(seen: &str, bound: &str) -> Option<Ordering> {
    let (seen, bound) = (seen.trim(), bound.trim());
    if seen.eq_ignore_ascii_case(bound) {
        return (!seen.is_empty()).then_some(Ordering::Equal);
    }
    let (seen, bound) = (Version::of(seen), Version::of(bound));
    let same_word = bound.word.is_empty() || bound.word == seen.word;
    if !same_word || seen.numbers.is_empty() || bound.numbers.is_empty() {
        return None;
    }
    let common = seen.numbers.iter().zip(&bound.numbers);
    let decided = common
        .map(|(one, other)| in_order(one, other))
        .find(|order| order.is_ne());
    if decided.is_some() {
        return decided;
    }
    // The numbers of one end here. If something else follows, it stands where a number would.
    let length = seen.numbers.len().min(bound.numbers.len());
    let (more_of_seen, more_of_bound) = (&seen.numbers[length..], &bound.numbers[length..]);
    let counts = |numbers: &[&str]| {
        numbers
            .iter()
            .any(|number| !without_zeros(number).is_empty())
    };
    let ends_odd = |version: &Version<'_>| !version.rest.is_empty();
    match (counts(more_of_seen), counts(more_of_bound)) {
        (true, _) if !ends_odd(&bound) => Some(Ordering::Greater),
        (_, true) if !ends_odd(&seen) => Some(Ordering::Less),
        (false, false) if !ends_odd(&seen) && !ends_odd(&bound) => Some(Ordering::Equal),
        _ => None,
    }
}

/// A version, taken apart.
struct Version<'a> {
    word: Vec<String>,
    numbers: Vec<&'a str>,
    rest: Vec<&'a str>,
}

impl<'a> Version<'a> {
    fn of(text: &'a str) -> Self {
        let belongs = |c: char| c.is_alphanumeric() || matches!(c, '(' | ')' | '[' | ']' | '~');
        let fields: Vec<&str> = text
            .split(|c| !belongs(c))
            .filter(|field| !field.is_empty())
            .map(without_v)
            .collect();
        let is_number = |field: &&str| field.bytes().all(|byte| byte.is_ascii_digit());
        let start = fields.iter().position(is_number);
        let (word, told) = fields.split_at(start.unwrap_or(fields.len()));
        let end = told.iter().position(|field| !is_number(field));
        let (numbers, rest) = told.split_at(end.unwrap_or(told.len()));
        Self {
            word: word.iter().map(|field| field.to_lowercase()).collect(),
            numbers: numbers.to_vec(),
            rest: rest.to_vec(),
        }
    }
}

fn without_v(field: &str) -> &str {
    let bare = field.strip_prefix(['v', 'V']);
    bare.filter(|bare| bare.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or(field)
}

fn without_zeros(number: &str) -> &str {
    number.trim_start_matches('0')
}

/// Numbers of any length.
fn in_order(one: &str, other: &str) -> Ordering {
    let (one, other) = (without_zeros(one), without_zeros(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ordering::{Equal, Greater, Less};

    #[test]
    fn numbers_count_as_numbers() {
        let table = [
            ("24.10", "24.9", Some(Greater)),
            ("24.10", "24.10.0", Some(Equal)),
            ("24.10", "24.10.1", Some(Less)),
            ("00.02.0182", "0.2.182", Some(Equal)),
            ("v2.3.4", "2.3.4", Some(Equal)),
            ("BF-24.10-10", "24.10-9", Some(Greater)),
            ("BF-24.10-10", "bf-24.10-10", Some(Equal)),
            ("BF-24.10-10", "BF-24.11", Some(Less)),
            ("32.43.1014", "32.39.2048", Some(Greater)),
            ("4.8.0-60-gd0cd2e2", "4.8.0", Some(Greater)),
            ("4.8.0-60-gd0cd2e2", "4.8.1", Some(Less)),
            ("4.8.0-60-gd0cd2e2", "4.8.0-60-gd0cd2e2", Some(Equal)),
            (
                "99999999999999999999999.1",
                "99999999999999999999998.2",
                Some(Greater),
            ),
        ];
        for (seen, bound, order) in table {
            assert_eq!(compare(seen, bound), order, "{seen} and {bound}");
        }
    }

    #[test]
    fn what_has_no_order_is_not_given_one() {
        let table = [
            // A release candidate, or a build of the release? Nobody can tell.
            ("1.2.0-rc1", "1.2.0"),
            ("1.2.0", "1.2.0-rc1"),
            ("4.8.0-60-gd0cd2e2", "4.8.0-60-g1111111"),
            ("2.10a", "2.9"),
            ("2.9", "2.10a"),
            ("BF-24.10", "BFX-24.10"),
            // The bound asks for a word that is not there.
            ("24.10", "BF-24.10"),
            ("", ""),
            ("unknown", "1.0"),
            ("1.0", "latest"),
            ("v2.2(release)", "2.2"),
            ("1.2.0~1", "1.2.0"),
        ];
        for (seen, bound) in table {
            assert_eq!(compare(seen, bound), None, "{seen} and {bound}");
        }
    }
}

//! Collections that name very many members: the first are kept, and how many are not is told.

use std::borrow::Cow;

/// Members of one collection that are kept. Nobody looks at more; each takes ten times its text.
const MOST: usize = 1000;

/// The property under which a document tells how many of its members were left out.
pub(crate) const CUT: &str = "Members@lockstep.cut";

/// The text of a document without the members beyond [`MOST`]. What is no JSON is no collection,
/// and is left for the parser to refuse.
pub(super) fn cut(text: &[u8]) -> Cow<'_, [u8]> {
    match find(text) {
        Some(Beyond { from, to, count }) => {
            let mut kept = text[..from].to_vec();
            kept.extend_from_slice(format!("],\"{CUT}\":{count}").as_bytes());
            kept.extend_from_slice(&text[to + 1..]);
            Cow::Owned(kept)
        }
        None => Cow::Borrowed(text),
    }
}

/// The members that are too many: from the comma before them to the bracket after them.
struct Beyond {
    from: usize,
    to: usize,
    count: usize,
}

fn find(text: &[u8]) -> Option<Beyond> {
    let start = members(text)?;
    let mut depth = 0_usize;
    let mut count = 0;
    let mut from = None;
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => {
                let from = from?;
                return (byte == b']').then_some(Beyond {
                    from,
                    to: at,
                    count: count - MOST + 1,
                });
            }
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                count += 1;
                if count == MOST {
                    from = Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the array `Members` of the document itself begins, behind its bracket.
fn members(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = end_of_string(text, at)?;
                if depth == 1 && &text[at + 1..end] == b"Members" {
                    let behind = skip(text, end + 1);
                    if text.get(behind) == Some(&b':') {
                        let value = skip(text, behind + 1);
                        return (text.get(value) == Some(&b'[')).then_some(value + 1);
                    }
                }
                at = end;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The first that is no white space.
fn skip(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The quote that ends the string which begins at this one.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn collection(count: usize) -> Value {
        let members: Vec<Value> = (0..count)
            .map(|one| json!({"@odata.id": format!("/a]\",[{{\\{one}"), "x": [[], {}, [1, 2]]}))
            .collect();
        json!({
            "A": {"Members": [1, 2]}, "B": "Members", "C": ["Members", "]"],
            "Members": members, "Z": {"Members": []},
        })
    }

    #[test]
    fn the_first_members_are_kept_and_the_others_are_counted() {
        for (count, left) in [
            (0, None),
            (MOST, None),
            (MOST + 1, Some(1)),
            (5000, Some(4000)),
        ] {
            let whole = collection(count);
            for text in [
                serde_json::to_vec(&whole).unwrap(),
                serde_json::to_vec_pretty(&whole).unwrap(),
            ] {
                let kept: Value = serde_json::from_slice(&cut(&text)).unwrap();
                let mut wanted = collection(count.min(MOST));
                if let Some(left) = left {
                    wanted[CUT] = json!(left);
                }
                assert_eq!(kept, wanted, "{count}");
            }
        }
    }

    #[test]
    fn what_is_no_collection_is_left_as_it_is() {
        let many = vec!["1"; MOST + 3].join(",");
        for odd in [
            String::new(),
            "\"".to_owned(),
            "\"\\".to_owned(),
            "]".to_owned(),
            format!("[{many}]"),
            format!("{{\"Members\":{{{many}}}}}"),
            format!("{{\"Members\" [{many}]}}"),
            format!("{{\"Members\":[{many}}}"),
            format!("[{{\"Members\":[{many}]}}]"),
        ] {
            assert_eq!(&*cut(odd.as_bytes()), odd.as_bytes(), "{odd}");
        }
        // Nor does one that breaks off trip it up.
        let whole = serde_json::to_vec(&collection(MOST + 3)).unwrap();
        let members = whole.iter().rposition(|byte| *byte == b'Z').unwrap() - 3;
        for end in (0..members).step_by(97) {
            assert_eq!(&*cut(&whole[..end]), &whole[..end], "{end}");
        }
    }
}

//! Lenient access to Redfish documents: an odd property is an absent one.

use serde_json::Value;

use crate::room::weigh;
use crate::scrub::Scrub;

/// A string property, trimmed; empty is absent.
pub(crate) fn text(document: &Value, key: &str) -> Option<String> {
    let text = document.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first `most` characters: no more fits the API.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Whether a property is there at all, `null` included.
pub(crate) fn offers(document: &Value, key: &str) -> bool {
    document.get(key).is_some()
}

/// Longest path that is followed; what is longer is none.
pub(crate) const LONGEST_PATH: usize = 512;

/// A string property that is a path.
pub(crate) fn path(document: &Value, key: &str) -> Option<String> {
    text(document, key).filter(|path| path.len() <= LONGEST_PATH)
}

/// The path that a navigation property points to.
pub(crate) fn link(document: &Value, key: &str) -> Option<String> {
    path(document.get(key)?, "@odata.id")
}

/// The last part of a path: the id of the resource, as a collection's members are told apart.
pub(crate) fn last_segment(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next()
}

/// The paths in an array of references. A collection without, or with an odd
/// `Members`, has none.
pub(crate) fn links(document: &Value, key: &str) -> Vec<String> {
    document
        .get(key)
        .and_then(Value::as_array)
        .map(|members| {
            members
                .iter()
                .filter_map(|member| path(member, "@odata.id"))
                .collect()
        })
        .unwrap_or_default()
}

/// The paths in references, however they are wrapped: an array, one more array in it, or none.
pub(crate) fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(references).collect(),
        Value::Object(_) => text(value, "@odata.id").into_iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// A whole number of something, also where it is written as text or with a fraction of zero. One
/// below zero counts nothing.
pub(crate) fn number(document: &Value, key: &str) -> Option<i64> {
    let told = match document.get(key)? {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    told.filter(|told| *told >= 0)
}

/// A number that may have a fraction, also where it is written as text.
pub(crate) fn decimal(document: &Value, key: &str) -> Option<f64> {
    let value = match document.get(key)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    value.filter(|value| value.is_finite())
}

/// A float as the integer that it is.
fn whole(value: f64) -> Option<i64> {
    /// Beyond it, not every integer is a float.
    const MOST: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it has no fraction and fits"
    )]
    let integer = value as i64;
    (value.fract() == 0.0 && value.abs() <= MOST).then_some(integer)
}

/// A boolean, also where it is written as text.
pub(crate) fn truth(document: &Value, key: &str) -> Option<bool> {
    match document.get(key)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        Value::String(_) | Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// A string property that fits the API.
pub(crate) fn short(document: &Value, key: &str, most: usize) -> Option<String> {
    text(document, key).map(|text| bounded(&text, most))
}

/// The strings of an array. Some BMCs nest it once more (`[["SCP"]]`).
pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for item in value.as_array()? {
        match item {
            Value::Array(_) => found.extend(strings(item)?),
            Value::String(text) => found.push(text.trim().to_owned()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    Some(found)
}

/// `KEY@Redfish.AllowableValues` beside a property or parameter. Absent or
/// empty means that the platform does not say.
pub(crate) fn allowable(document: &Value, key: &str) -> Option<Vec<String>> {
    strings(document.get(format!("{key}@Redfish.AllowableValues"))?)
        .filter(|values| !values.is_empty())
}

/// The action object `#NAME` of a document.
pub(crate) fn action<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    document.get("Actions")?.get(format!("#{name}"))
}

/// What a BMC lists, for people: the first few, and those not at any length.
pub(crate) fn listed(values: &[String]) -> String {
    const MOST: usize = 16;
    let mut shown: Vec<String> = values
        .iter()
        .take(MOST)
        .map(|value| value.chars().take(128).collect())
        .collect();
    if values.len() > MOST {
        shown.push(format!("and {} more", values.len() - MOST));
    }
    shown.join(", ")
}

/// What a BMC says, for people: short, one line, and without what `scrub` hides.
pub(crate) fn line(said: &str, scrub: &Scrub) -> String {
    const LONGEST: usize = 300;
    // Before it is cut: half a secret is one too.
    scrub
        .clean(said)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

/// The message of a Redfish error body, for people: short, one line, and
/// without what `scrub` hides.
pub(crate) fn error_message(body: &str, scrub: &Scrub) -> String {
    /// More memory than any explanation takes.
    const ROOM: usize = 1024 * 1024;
    let parsed = (weigh(body.as_bytes()) <= ROOM).then(|| serde_json::from_str(body));
    let document: Value = parsed.and_then(Result::ok).unwrap_or_default();
    let error = document.get("error");
    let extended = error
        .and_then(|error| error.get("@Message.ExtendedInfo"))
        .and_then(|info| info.get(0).or(Some(info)))
        .and_then(|message| text(message, "Message"));
    let message = extended
        .or_else(|| error.and_then(|error| text(error, "message")))
        .unwrap_or_else(|| body.to_owned());
    let mut line = line(&message, scrub);
    if line.is_empty() {
        line.push_str("no explanation");
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::target::Credentials;

    fn scrub() -> Scrub {
        Scrub::of(&Credentials {
            username: "root".to_owned(),
            password: "hunter2".to_owned(),
        })
    }

    #[test]
    fn odd_properties_are_absent() {
        let document = json!({"A": "  x ", "B": "", "C": 7, "D": null, "Members": null});
        assert_eq!(text(&document, "A").as_deref(), Some("x"));
        for key in ["B", "C", "D", "E"] {
            assert_eq!(text(&document, key), None);
        }
        assert!(offers(&document, "D") && !offers(&document, "E"));
        assert!(links(&document, "Members").is_empty());
    }

    #[test]
    fn numbers_and_references_are_taken_however_they_are_wrapped() {
        let document =
            json!({"a": 16, "b": " 16 ", "c": 16.0, "d": "16.5", "e": null, "f": [16], "g": -4});
        let read: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"]
            .map(|key| number(&document, key))
            .into();
        assert_eq!(read, [Some(16), Some(16), Some(16), None, None, None, None]);
        assert_eq!(decimal(&document, "d"), Some(16.5));
        let one = json!({"@odata.id": "/a"});
        for wrapped in [json!([one]), json!([[one]]), one.clone()] {
            assert_eq!(references(&wrapped), ["/a"]);
        }
        assert!(references(&json!([null, 7, {"@odata.id": ""}])).is_empty());
        let told = json!({"a": true, "b": "False", "c": 1});
        let read = ["a", "b", "c"].map(|key| truth(&told, key));
        assert_eq!(read, [Some(true), Some(false), None]);
    }

    #[test]
    fn nested_allowable_values_are_flattened_and_empty_ones_say_nothing() {
        let document = json!({
            "X@Redfish.AllowableValues": [["SCP"], "HTTP"],
            "Y@Redfish.AllowableValues": [],
        });
        assert_eq!(
            allowable(&document, "X"),
            Some(vec!["SCP".to_owned(), "HTTP".to_owned()])
        );
        assert_eq!(allowable(&document, "Y"), None);
        assert_eq!(allowable(&document, "Z"), None);
    }

    #[test]
    fn what_is_far_too_long_is_no_path_and_not_shown_whole() {
        let long = format!("/redfish/v1/{}", "x".repeat(600));
        let document = json!({"A": {"@odata.id": long}, "Members": [{"@odata.id": long}]});
        assert_eq!(link(&document, "A"), None);
        assert!(links(&document, "Members").is_empty());
        let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert!(listed(&many).ends_with("15, and 4 more"));
        assert!(listed(&vec![long; 100]).len() < 4096);
    }

    #[test]
    fn error_bodies_become_one_short_line() {
        let body = json!({"error": {
            "message": "general",
            "@Message.ExtendedInfo": [{"Message": "The\n value  is bad"}],
        }})
        .to_string();
        let shown = |body: &str| error_message(body, &scrub());
        assert_eq!(shown(&body), "The value is bad");
        assert_eq!(shown("<html>\n<b>500"), "<html> <b>500");
        assert_eq!(shown(""), "no explanation");
        assert_eq!(shown(&"x".repeat(9999)).len(), 300);
    }

    #[test]
    fn a_password_is_hidden_before_the_message_is_cut() {
        let body = format!("{} hunter2 is too short", "x".repeat(295));
        assert!(!error_message(&body, &scrub()).contains("hun"));
    }
}

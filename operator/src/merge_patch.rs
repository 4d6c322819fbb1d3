//! JSON merge patches (RFC 7386): the difference between what is and what is wanted.

use serde_json::{Map, Value};

/// The merge patch that turns `current` into `wanted`; `None` if they are equal.
pub(crate) fn difference(current: &Value, wanted: &Value) -> Option<Value> {
    if current == wanted {
        return None;
    }
    let (Value::Object(current), Value::Object(wanted)) = (current, wanted) else {
        return Some(wanted.clone());
    };
    let mut patch = Map::new();
    for (name, wanted) in wanted {
        let change = current.get(name).map_or_else(
            || Some(wanted.clone()),
            |current| difference(current, wanted),
        );
        if let Some(change) = change {
            patch.insert(name.clone(), change);
        }
    }
    for name in current.keys() {
        if !wanted.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_sent() {
        let current = json!({"a": 1, "b": {"c": 1, "d": 2}, "gone": 3, "list": [1, 2]});
        let wanted = json!({"a": 1, "b": {"c": 1, "d": 4}, "list": [2], "new": {"x": 1}});
        assert_eq!(
            difference(&current, &wanted),
            Some(json!({"b": {"d": 4}, "gone": null, "list": [2], "new": {"x": 1}}))
        );
        assert_eq!(difference(&current, &current), None);
        assert_eq!(difference(&Value::Null, &wanted), Some(wanted));
    }
}

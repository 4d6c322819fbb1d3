//! Objects that are applied together do not arrive together.
//!
//! What a new object names may be the next line of the same file, so for a
//! moment its absence is nobody's mistake and not worth a word.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How long `kubectl apply` or a GitOps engine may take between two objects of one set.
const ONE_APPLY: SignedDuration = SignedDuration::from_secs(10);

/// Until when an object is so new that what it names may still be on its way; `None` if it is not.
pub fn arriving(meta: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    let created = meta.creation_timestamp.as_ref()?.0;
    Some(created + ONE_APPLY).filter(|until| now < *until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn only_new_objects_are_arriving() {
        let created = Timestamp::UNIX_EPOCH;
        let meta = ObjectMeta {
            creation_timestamp: Some(Time(created)),
            ..ObjectMeta::default()
        };
        assert_eq!(arriving(&meta, created), Some(created + ONE_APPLY));
        assert_eq!(arriving(&meta, created + ONE_APPLY), None);
        assert_eq!(arriving(&ObjectMeta::default(), created), None);
    }
}

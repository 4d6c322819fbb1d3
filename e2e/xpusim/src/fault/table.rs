//! The table of faults: name, where it lives, what it does, where it was seen.

/// Where a fault lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Layer {
    /// The connection and HTTP.
    Connection,
    /// Documents as they are read.
    Document,
    /// ETags and conditional requests.
    Etag,
    /// Bodies and headers of requests for changes.
    Request,
    /// What is really done.
    Behaviour,
}

/// What is known about a fault.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct About {
    /// Its name in fleet files and in the control API.
    pub name: &'static str,
    /// Where it lives.
    pub layer: Layer,
    /// What happens.
    pub does: &'static str,
    /// Where it was seen: a number in `reference/hardware.md`.
    pub source: &'static str,
}

use Layer::{Behaviour, Connection, Document, Etag, Request};

/// One line for each fault: rustfmt leaves it so.
macro_rules! table {
    ($($name:literal, $layer:expr, $does:literal, $source:literal;)*) => {
        /// One line for each fault, in the order of [`crate::fault::Fault::ALL`].
        pub const ABOUT: &[About] = &[$(About {
            name: $name,
            layer: $layer,
            does: $does,
            source: $source,
        }),*];
    };
}

table! {
    "reset-connection", Connection, "a new connection is closed before anything is read", "6.26";
    "hang-connection", Connection, "a new connection is taken and nothing is ever said on it, not even TLS", "6.8";
    "hang", Connection, "the request is taken and never answered", "6.8, 6.28";
    "drop-request", Connection, "the connection closes; the request had no effect", "6.26";
    "lose-reply", Connection, "the request has its effect; the connection closes without an answer", "6.27, 7";
    "slow-reply", Connection, "the answer comes `seconds` late", "6.8, 7";
    "answer-status", Connection, "HTTP `status` instead of the answer, without effect", "6.8, 6.28";
    "garbage", Connection, "half a document that is no JSON", "6.2";
    "close-silently", Connection, "an answered connection looks alive and closes at its next request", "6.26";
    "redirect-to-http", Connection, "redirects to the same path without TLS", "6.26";
    "no-head", Connection, "HEAD is answered with 405", "6.26";
    "slash-missing", Connection, "a path with a slash at its end is answered with 404", "6.26";
    "nested-allowable", Document, "AllowableValues are wrapped in a second array", "6.2";
    "no-allowable", Document, "neither AllowableValues nor ActionInfo", "6.1";
    "wrong-allowable", Document, "AllowableValues name a reset type that does not work", "6.1";
    "enum-typo", Document, "`Invaild` where an enumeration is expected", "6.2";
    "wrong-types", Document, "strings are numbers, numbers strings, lists their first element", "6.2, 6.5";
    "empty-strings", Document, "UUIDs, serial numbers and override values are empty strings", "6.5";
    "null-members", Document, "Members of collections is null", "6.5";
    "padded-strings", Document, "serial, part number and model are padded with blanks", "6.5, 1.1";
    "junk-identity", Document, "UUID all zero, serial number a placeholder", "6.5, 1.1";
    "missing-names", Document, "Id and Name are absent", "6.9";
    "dead-member", Document, "collections name a member that answers 404", "6.9";
    "cyclic-member", Document, "collections name themselves as a member", "6.9";
    "huge-collection", Document, "collections name 5,000 members", "6.8";
    "error-in-ok", Document, "HTTP 200 with an error object", "6.31";
    "clock-at-epoch", Document, "the BMC's clock stands at its epoch", "6.6, 7";
    "zero-dates", Document, "dates are 0000-00-00T00:00:00Z", "6.6";
    "odd-offset", Document, "dates have an offset without a colon", "6.6";
    "stale-stage-time", Document, "LastStateTime never moves", "1.1, 7";
    "stages-skipped", Document, "only the first and the last stage of a boot are shown", "0, 7";
    "bios-empty", Document, "the Bios has no attributes until a boot after an update", "6.7, 7";
    "bios-error", Document, "the Bios is answered with 500, and its body is right", "6.7, 7";
    "oem-version", Document, "versions carry a prefix of the vendor's", "6.18";
    "update-service-late", Document, "for `seconds` (180) after a start of the BMC its UpdateService is Starting and takes nothing", "6.17";
    "etag-weak", Etag, "ETags are weak and compared byte for byte", "6.10";
    "etag-demanded", Etag, "PATCH without If-Match is answered with 428", "6.10";
    "etag-never-matches", Etag, "If-Match is answered with 412, except `*`", "6.10";
    "etag-refused", Etag, "If-Match is answered with 400", "6.10";
    "body-demanded", Request, "an action without a body is answered with 400", "6.29";
    "apply-time-refused", Request, "@Redfish.SettingsApplyTime is an unknown property", "6.11";
    "location-missing", Request, "202 has no Location, the task is in the body alone", "6.13";
    "location-absolute", Request, "Location is an absolute URL", "6.13";
    "task-unnamed", Request, "an update is taken with 202, and neither Location nor body names a task", "6.13";
    "update-without-task", Request, "an update is taken with 200 and nothing else", "6.13";
    "reset-ignored", Behaviour, "a reset is accepted and nothing happens", "2.10, 7";
    "reset-refused", Behaviour, "a reset is refused with 409", "6.26";
    "too-close-lost", Behaviour, "a power command within `seconds` of the last is accepted and lost", "6.4, 2.4";
    "once-lost", Behaviour, "a one-time override is consumed by a reset that boots something else", "6.12";
    "once-ignored", Behaviour, "a one-time override is accepted and not kept", "6.12";
    "once-stays", Behaviour, "a one-time override is kept as Continuous", "6.12";
    "override-lost-with-bmc", Behaviour, "a restart of the BMC forgets the override", "6.12, 2.11";
    "http-uri-dropped", Behaviour, "HttpBootUri is accepted and not kept, the target UefiHttp is", "6.12";
    "http-image-fetched", Behaviour, "HttpBootUri makes the BMC insert the image as a medium and boot from that", "6.12";
    "media-late", Behaviour, "Inserted becomes true `seconds` after the request", "6.21";
    "media-refused", Behaviour, "InsertMedia fails with 500", "6.19, 6.21";
    "eject-refused", Behaviour, "EjectMedia fails with 500", "6.21";
    "task-lost", Behaviour, "tasks are gone when they end", "6.13, 6.14";
    "task-warning", Behaviour, "tasks end Completed with TaskStatus Warning", "6.15";
    "task-stuck", Behaviour, "tasks stay Running at 97 %", "6.15";
    "task-monitor-gone", Behaviour, "the task monitor answers 404 as soon as the task has ended", "6.13";
    "task-critical", Behaviour, "an update writes nothing and ends Completed with TaskStatus Critical", "6.15";
    "task-error-text", Behaviour, "an update writes nothing and ends Completed with TaskStatus OK and a GeneralError", "6.15, 1.2";
    "percent-short", Behaviour, "tasks end at 99 %", "6.15";
    "part-failed", Behaviour, "an update of several components ends well, and the last of them is not written", "1.1";
    "updates-clobber", Behaviour, "an update is taken while another one runs, which then ends well and writes nothing", "6.16";
    "bmc-restarts-in-update", Behaviour, "the BMC restarts when an update has written, and its task goes with it", "6.14, 7";
    "certificate-changes-with-bmc", Behaviour, "a restart of the BMC gives it another certificate", "6.25";
    "wrong-version", Behaviour, "an update completes and the old version stays", "6.15, 7";
    "wrong-card", Behaviour, "an update ends in Exception: the image is for another card", "1.1, 7";
    "image-unreachable", Behaviour, "an update ends in Exception: the BMC cannot reach the image", "6.19";
    "update-busy", Behaviour, "updates are refused with ResourceInUse and `status` (503), and Retry-After if `seconds` are given", "6.17, 7";
    "sessions-full", Behaviour, "no session is to be had: 503", "6.22, 7";
    "sessions-forgotten", Behaviour, "every session token is refused, once each time it strikes", "6.22";
    "password-change-required", Behaviour, "nothing works but changing the own password", "6.23, 7";
    "stage-stuck", Behaviour, "the boot does not go beyond `stage`", "7";
    "crash-at", Behaviour, "the machine crashes when it reaches `stage`", "7";
}

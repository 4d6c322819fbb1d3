//! The table of faults.

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

const fn of(name: &'static str, layer: Layer, does: &'static str, source: &'static str) -> About {
    About {
        name,
        layer,
        does,
        source,
    }
}

use Layer::{Behaviour, Connection, Document, Etag, Request};

/// One line for each fault, in the order of [`crate::fault::Fault::ALL`].
pub const ABOUT: &[About] = &[
    of(
        "reset-connection",
        Connection,
        "a new connection is closed before anything is read",
        "6.26",
    ),
    of(
        "hang",
        Connection,
        "the request is taken and never answered",
        "6.8, 6.28",
    ),
    of(
        "drop-request",
        Connection,
        "the connection closes; the request had no effect",
        "6.26",
    ),
    of(
        "lose-reply",
        Connection,
        "the request has its effect; the connection closes without an answer",
        "6.27, 7",
    ),
    of(
        "slow-reply",
        Connection,
        "the answer comes `seconds` late",
        "6.8, 7",
    ),
    of(
        "answer-status",
        Connection,
        "HTTP `status` instead of the answer, without effect",
        "6.8, 6.28",
    ),
    of(
        "garbage",
        Connection,
        "half a document that is no JSON",
        "6.2",
    ),
    of(
        "close-silently",
        Connection,
        "an answered connection looks alive and closes at its next request",
        "6.26",
    ),
    of(
        "redirect-to-http",
        Connection,
        "redirects to the same path without TLS",
        "6.26",
    ),
    of("no-head", Connection, "HEAD is answered with 405", "6.26"),
    of(
        "slash-missing",
        Connection,
        "a path with a slash at its end is answered with 404",
        "6.26",
    ),
    of(
        "nested-allowable",
        Document,
        "AllowableValues are wrapped in a second array",
        "6.2",
    ),
    of(
        "no-allowable",
        Document,
        "neither AllowableValues nor ActionInfo",
        "6.1",
    ),
    of(
        "wrong-allowable",
        Document,
        "AllowableValues name a reset type that does not work",
        "6.1",
    ),
    of(
        "enum-typo",
        Document,
        "`Invaild` where an enumeration is expected",
        "6.2",
    ),
    of(
        "empty-strings",
        Document,
        "UUIDs, serial numbers and override values are empty strings",
        "6.5",
    ),
    of(
        "null-members",
        Document,
        "Members of collections is null",
        "6.5",
    ),
    of(
        "padded-strings",
        Document,
        "serial, part number and model are padded with blanks",
        "6.5, 1.1",
    ),
    of(
        "junk-identity",
        Document,
        "UUID all zero, serial number a placeholder",
        "6.5, 1.1",
    ),
    of("missing-names", Document, "Id and Name are absent", "6.9"),
    of(
        "dead-member",
        Document,
        "collections name a member that answers 404",
        "6.9",
    ),
    of(
        "cyclic-member",
        Document,
        "collections name themselves as a member",
        "6.9",
    ),
    of(
        "huge-collection",
        Document,
        "collections name 5,000 members",
        "6.8",
    ),
    of(
        "error-in-ok",
        Document,
        "HTTP 200 with an error object",
        "6.31",
    ),
    of(
        "clock-at-epoch",
        Document,
        "the BMC's clock stands at its epoch",
        "6.6, 7",
    ),
    of(
        "zero-dates",
        Document,
        "dates are 0000-00-00T00:00:00Z",
        "6.6",
    ),
    of(
        "odd-offset",
        Document,
        "dates have an offset without a colon",
        "6.6",
    ),
    of(
        "stale-stage-time",
        Document,
        "LastStateTime never moves",
        "1.1, 7",
    ),
    of(
        "bios-empty",
        Document,
        "the Bios has no attributes until a boot after an update",
        "6.7, 7",
    ),
    of(
        "bios-error",
        Document,
        "the Bios is answered with 500, and its body is right",
        "6.7, 7",
    ),
    of(
        "oem-version",
        Document,
        "versions carry a prefix of the vendor's",
        "6.18",
    ),
    of(
        "etag-weak",
        Etag,
        "ETags are weak and compared byte for byte",
        "6.10",
    ),
    of(
        "etag-demanded",
        Etag,
        "PATCH without If-Match is answered with 428",
        "6.10",
    ),
    of(
        "etag-never-matches",
        Etag,
        "If-Match is answered with 412, except `*`",
        "6.10",
    ),
    of(
        "etag-refused",
        Etag,
        "If-Match is answered with 400",
        "6.10",
    ),
    of(
        "body-demanded",
        Request,
        "an action without a body is answered with 400",
        "6.29",
    ),
    of(
        "apply-time-refused",
        Request,
        "@Redfish.SettingsApplyTime is an unknown property",
        "6.11",
    ),
    of(
        "location-missing",
        Request,
        "202 has no Location, the task is in the body alone",
        "6.13",
    ),
    of(
        "location-absolute",
        Request,
        "Location is an absolute URL",
        "6.13",
    ),
    of(
        "reset-ignored",
        Behaviour,
        "a reset is accepted and nothing happens",
        "2.10, 7",
    ),
    of(
        "reset-refused",
        Behaviour,
        "a reset is refused with 409",
        "6.26",
    ),
    of(
        "too-close-lost",
        Behaviour,
        "a power command within `seconds` of the last is accepted and lost",
        "6.4, 2.4",
    ),
    of(
        "once-lost",
        Behaviour,
        "a one-time override is consumed by a reset that boots something else",
        "6.12",
    ),
    of(
        "once-ignored",
        Behaviour,
        "a one-time override is accepted and not kept",
        "6.12",
    ),
    of(
        "once-stays",
        Behaviour,
        "a one-time override is kept as Continuous",
        "6.12",
    ),
    of(
        "override-lost-with-bmc",
        Behaviour,
        "a restart of the BMC forgets the override",
        "6.12, 2.11",
    ),
    of(
        "media-late",
        Behaviour,
        "Inserted becomes true `seconds` after the request",
        "6.21",
    ),
    of(
        "media-refused",
        Behaviour,
        "InsertMedia fails with 500",
        "6.19, 6.21",
    ),
    of(
        "eject-refused",
        Behaviour,
        "EjectMedia fails with 500",
        "6.21",
    ),
    of(
        "task-lost",
        Behaviour,
        "tasks are gone when they end",
        "6.13, 6.14",
    ),
    of(
        "task-warning",
        Behaviour,
        "tasks end Completed with TaskStatus Warning",
        "6.15",
    ),
    of(
        "task-stuck",
        Behaviour,
        "tasks stay Running at 97 %",
        "6.15",
    ),
    of(
        "task-monitor-gone",
        Behaviour,
        "the task monitor answers 404 as soon as the task has ended",
        "6.13",
    ),
    of(
        "wrong-version",
        Behaviour,
        "an update completes and the old version stays",
        "6.15, 7",
    ),
    of(
        "wrong-card",
        Behaviour,
        "an update ends in Exception: the image is for another card",
        "1.1, 7",
    ),
    of(
        "image-unreachable",
        Behaviour,
        "an update ends in Exception: the BMC cannot reach the image",
        "6.19",
    ),
    of(
        "update-busy",
        Behaviour,
        "updates are refused with 503 and ResourceInUse",
        "6.17, 7",
    ),
    of(
        "sessions-full",
        Behaviour,
        "no session is to be had: 503",
        "6.22, 7",
    ),
    of(
        "sessions-forgotten",
        Behaviour,
        "every session token is refused, once each time it strikes",
        "6.22",
    ),
    of(
        "password-change-required",
        Behaviour,
        "nothing works but changing the own password",
        "6.23, 7",
    ),
    of(
        "stage-stuck",
        Behaviour,
        "the boot does not go beyond `stage`",
        "7",
    ),
    of(
        "stages-skipped",
        Behaviour,
        "only the first and the last stage of a boot are shown",
        "0, 7",
    ),
    of(
        "crash-at",
        Behaviour,
        "the machine crashes when it reaches `stage`",
        "7",
    ),
];

//! Nothing begins at a host whose `identity` or `bmc` is newer than what all reports were joined for.
//!
//! Which Node runs there, and whether that is settled, is known for the machine that it was before
//! only: a host that was contested a moment ago must not look free because somebody edits it (S12).
//! What takes back what was begun does not wait for that.

use crate::host;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::view::View;

/// What must be joined before anything begins; `None` if it was.
pub(crate) fn awaited(view: &View) -> Option<Intent> {
    view.joined.is_none().then(|| {
        Intent::wait(
            Reason::Joining,
            format!(
                "{} is new, or its identity or bmc was changed: its identity is being joined anew, and \
                 till then nobody knows which Node runs there; it goes on by itself after that",
                host::machine(view)
            ),
            reach::SILENCE,
        )
    })
}

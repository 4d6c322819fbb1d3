//! What puts right more than one case.

use crate::bad_input::act;
use crate::bad_input::case::Act;
use crate::image_server::Behaviour;

/// The user applies what was missing or wrong.
pub const APPLY_KEPT_BACK: Act = act!(|stage, objects| {
    stage.apply_these(&objects.kept_back).await?;
});

/// The card's BMC does as it should.
pub const CLEAR_RULES: Act = act!(|stage, _objects| {
    stage.bmc.clear_rules();
});

/// The image server does as it should.
pub const SERVE_HONESTLY: Act = act!(|stage, _objects| {
    stage.server.behave(Behaviour::Honest);
});

/// The user deletes the card that contends with the case's.
pub const DELETE_RIVAL: Act = act!(|stage, _objects| {
    stage
        .delete(&format!("dpu/{}", stage.rival()), true)
        .await?;
});

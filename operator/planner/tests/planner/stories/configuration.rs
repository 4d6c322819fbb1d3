//! A card whose own files cannot be made is not begun with, and neither is its host (R40).

use lockstep_configuration::Inputs;
use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::Disruption;
use lockstep_crds::report::ConfigurationTried;
use serde_json::{Value, json};

use super::waits;
use crate::world::{World, secs};

/// The wanted image has this file, and the card these values.
pub(super) fn asks(world: &mut World, template: &str, values: &Value) -> Inputs {
    let dpu = world.cards[0].dpu.as_mut().unwrap();
    dpu.spec.values = serde_json::from_value(values.clone()).unwrap();
    let image = serde_json::from_value(json!({
        "version": "os-1", "digest": "sha256:00", "sources": ["http://a/b"],
        "files": [{"slot": "user-data", "template": template}],
    }));
    let inputs = Inputs::of(dpu, "os-1", &image.unwrap()).unwrap();
    world.cards[0].configuration = Some(inputs.clone());
    inputs
}

/// The site agent tried to make the files of these inputs.
pub(super) fn tried(world: &mut World, inputs: &Inputs, refused: Option<(&str, &str)>) {
    world.cards[0].machine.tried = Some(ConfigurationTried {
        inputs: inputs.digest(),
        ok: refused.is_none(),
        reason: refused.map(|(reason, _)| reason.to_owned()),
        message: refused.map(|(_, message)| message.to_owned()),
    });
}

/// A host that is off, or up and free to be taken down.
fn worlds() -> [World; 2] {
    let mut worlds = [World::new(&["card1"]), World::new(&["card1"])];
    for world in &mut worlds {
        world.strict = true;
    }
    worlds[1].power_on_host();
    worlds[1].edit_host(|host| host.disruption = Disruption::Allowed);
    worlds
}

#[test]
fn a_value_that_is_missing_stops_everything_until_it_is_given() {
    for mut world in worlds() {
        let template = "hostname: {{ values.hostname | yaml }}";
        let inputs = asks(&mut world, template, &json!([]));
        // Whatever the site agent says.
        tried(&mut world, &inputs, None);
        waits(
            &mut world,
            "ValueMissing",
            &[
                "dpu/card1",
                "file user-data uses values.hostname in line 1",
                "Add it to spec.values of the Dpu",
            ],
        );
        let given = json!([{"name": "hostname", "value": "a"}]);
        let inputs = asks(&mut world, template, &given);
        tried(&mut world, &inputs, None);
        world.until("Ready", secs(3600), World::is_ready);
        let staged = |kind: &ActionKind| *kind == ActionKind::StageInstall;
        let mut stages = world.recorded.iter().map(|each| &each.action);
        let action = stages.find(|action| staged(&action.kind)).unwrap();
        assert_eq!(action.configuration, Some(inputs.digest()));
    }
}

#[test]
fn a_template_that_is_none_stops_everything() {
    for mut world in worlds() {
        asks(&mut world, "{% if %}", &json!([]));
        waits(
            &mut world,
            "TemplateInvalid",
            &["file user-data is none, line 1", "Create another DpuImage"],
        );
    }
}

#[test]
fn what_only_the_site_agent_knows_stops_everything_until_it_is_mended() {
    for mut world in worlds() {
        let secret = json!([
            {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]);
        let inputs = asks(&mut world, "{{ values.token | sh }}", &secret);
        let missing = "Secret s does not exist in namespace site; create it";
        tried(&mut world, &inputs, Some(("SecretMissing", missing)));
        waits(
            &mut world,
            "ConfigurationRefused",
            &[
                "the files of dpu/card1 cannot be made (SecretMissing)",
                missing,
            ],
        );
        tried(&mut world, &inputs, None);
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn the_word_of_the_site_agent_counts_for_what_it_tried_alone() {
    for mut world in worlds() {
        let before = asks(&mut world, "{{ site }}", &json!([]));
        tried(&mut world, &before, None);
        asks(&mut world, "{{ site }}!", &json!([]));
        waits(
            &mut world,
            "MakingConfiguration",
            &["has not told yet", "one of an older release makes no files"],
        );
    }
}

#[test]
fn a_card_that_runs_the_image_is_adopted_whatever_its_files_lack() {
    let mut world = World::new(&["card1"]);
    world.cards[0].disk = world.catalogue.get("os-1").cloned();
    world.until("Ready without files", secs(3600), World::is_ready);
    world.recorded.clear();
    asks(&mut world, "{{ values.nosuch }}", &json!([]));
    world.settle(secs(1200));
    assert!(world.is_ready(), "{}", world.told());
    assert!(world.recorded.is_empty());
}

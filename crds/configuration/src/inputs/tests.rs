//! Files made of templates and values: what comes out, what is told, and that nothing gets out
//! of hand.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn card(values: &serde_json::Value) -> Dpu {
    serde_json::from_value(json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1",
        "kind": "Dpu",
        "metadata": {"name": "c1", "namespace": "site", "uid": "uid-1"},
        "spec": {
            "site": "lab", "hostRefs": [{"name": "h1"}], "values": values,
            "identity": {"serialNumber": "SN1"},
        },
    }))
    .unwrap()
}

fn image(files: &[(&str, &str)]) -> DpuImageSpec {
    let files: Vec<_> = files
        .iter()
        .map(|(slot, template)| json!({"slot": slot, "template": template}))
        .collect();
    serde_json::from_value(json!({
        "version": "1.2", "digest": "sha256:00", "sources": ["http://a/b"], "files": files,
    }))
    .unwrap()
}

fn inputs(template: &str, values: &serde_json::Value) -> Inputs {
    Inputs::of(&card(values), "os", &image(&[("user-data", template)])).unwrap()
}

fn rendered(template: &str, values: &serde_json::Value) -> Result<String, Fault> {
    let files = inputs(template, values).render(&BTreeMap::new())?;
    Ok(String::from_utf8(files["user-data"].clone()).unwrap())
}

#[test]
fn a_template_sees_card_image_site_and_values() {
    let template = "{{ dpu.name }} {{ dpu.namespace }} {{ dpu.uid }} {{ dpu.serialNumber }} \
        {{ host }} {{ site }} {{ image.name }} {{ image.version }} {{ image.digest }} {{ values.a }}\n";
    assert_eq!(
        rendered(template, &json!([{"name": "a", "value": "b"}])).unwrap(),
        "c1 site uid-1 SN1 h1 lab os 1.2 sha256:00 b\n"
    );
}

#[test]
fn statements_leave_no_lines_behind_and_markup_is_not_escaped() {
    let template = "a\n  {% if values.a is defined %}\n<{{ values.a }}>\n  {% endif %}\n{% for each in values.a | split(',') %}\n- {{ each | yaml }}\n{% endfor %}\n";
    let given = json!([{"name": "a", "value": "1,&"}]);
    assert_eq!(
        rendered(template, &given).unwrap(),
        "a\n<1,&>\n- \"1\"\n- \"&\"\n"
    );
}

#[test]
fn an_image_without_files_asks_for_nothing() {
    assert_eq!(Inputs::of(&card(&json!([])), "os", &image(&[])), None);
}

#[test]
fn what_is_missing_is_named_with_its_line() {
    for (template, name, line) in [
        ("{{ values.a }}", "values.a", 1),
        ("{{ values.b }}\n{{ values.a | sh }}", "values.a", 2),
        ("{{ values.b }}\n\n{{ values['a'] }}", "values.a", 3),
        ("{{ dpu.systemUuid }}", "dpu.systemUuid", 1),
        ("{{ valeus.b }}", "valeus", 1),
        ("{% if values.a %}x{% endif %}", "values.a", 1),
        (
            "{% if values.c is defined %}{% endif %}{{ values.a | yaml }}",
            "values.a",
            1,
        ),
    ] {
        let inputs = inputs(template, &json!([{"name": "b", "value": ""}]));
        let fault = inputs.check().unwrap_err();
        assert_eq!(
            fault,
            Fault::ValueMissing {
                slot: "user-data".to_owned(),
                line,
                name: name.to_owned()
            },
            "{template}"
        );
        assert_eq!(inputs.render(&BTreeMap::new()), Err(fault));
    }
    for template in [
        "{{ values.a | default('x') }}",
        "{% if values.a is defined %}{{ values.a }}{% endif %}",
    ] {
        inputs(template, &json!([])).check().unwrap();
    }
}

#[test]
fn a_template_that_is_none_is_told_with_its_line() {
    for (template, line) in [
        ("{{ values.a", 1),
        ("ok\n{% if values.a %}", 2),
        ("\n\n{% include 'x' %}", 3),
        ("{% macro x() %}{% endmacro %}", 1),
    ] {
        let files = [("ok", "fine"), ("user-data", template)];
        let fault = check_templates(&image(&files).files).unwrap_err();
        assert_eq!(fault.category(), "TemplateInvalid", "{template}: {fault}");
        assert!(
            fault.to_string().contains(&format!("line {line}:")),
            "{fault}"
        );
    }
    for template in ["{{ values.a | nosuch }}", "{{ nosuch() }}"] {
        let fault = inputs(template, &json!([{"name": "a", "value": ""}])).check();
        assert!(fault.is_err(), "{template}");
    }
}

#[test]
fn secrets_are_asked_for_by_place_and_judged_without() {
    let values = json!([
        {"name": "plain", "value": "p"},
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]);
    let inputs = inputs("{{ values.token | sh }}{{ values.token | int }}", &values);
    let asked: Vec<_> = inputs.secrets().collect();
    assert_eq!((asked.len(), asked[0].0), (1, "token"));
    assert_eq!(
        (asked[0].1.name.as_str(), asked[0].1.key.as_str()),
        ("s", "k")
    );
    inputs.check().unwrap();
    let secrets = BTreeMap::from([("token".to_owned(), "42".to_owned())]);
    assert_eq!(inputs.render(&secrets).unwrap()["user-data"], b"'42'42");
    let missing = inputs.render(&BTreeMap::new()).unwrap_err();
    assert_eq!(missing.category(), "ValueMissing");
}

#[test]
fn no_fault_quotes_a_value() {
    let values = json!([{"name": "a", "value": "very-secret"}]);
    for template in [
        "{{ values.a | int }}",
        "{{ values.a + 1 }}",
        "{{ values.a() }}",
        "{{ values.a.b.c }}",
        "{{ values.a | join(1, 2, 3) }}",
        "{{ values[values.a] }}x",
        "{{ values.a.nosuch() }}",
    ] {
        let fault = rendered(template, &values).unwrap_err();
        let told = format!("{fault} {fault:?} {}", fault.remedy());
        assert!(!told.contains("very-secret"), "{told}");
    }
}

#[test]
fn the_digest_tells_every_input_apart() {
    let one = inputs("{{ site }}", &json!([{"name": "a", "value": "1"}]));
    let others = [
        inputs("{{ site}}", &json!([{"name": "a", "value": "1"}])),
        inputs("{{ site }}", &json!([{"name": "a", "value": "2"}])),
        inputs("{{ site }}", &json!([])),
    ];
    assert_eq!(one.digest().len(), 64);
    assert_eq!(one.digest(), one.clone().digest());
    for other in others {
        assert_ne!(one.digest(), other.digest());
    }
}

/// Templates that would take for ever, or all memory.
#[test]
fn greedy_templates_end_soon() {
    let doubling = "{% set a = a ~ a %}".repeat(60);
    for template in [
        format!("{{% set a = 'xxxxxxxxxxxxxxxx' %}}{doubling}{{{{ a | length }}}}"),
        "{{ 'x' * 99999999 }}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
            .to_owned(),
        format!(
            "{}{}{}",
            "{{ ".to_owned() + &"(".repeat(5000),
            "1",
            ")".repeat(5000) + " }}"
        ),
        "{% for a in range(9) %}".repeat(300) + &"{% endfor %}".repeat(300),
        "{{ 'x' | indent(99999999) }}".to_owned(),
        "{{ 'xxxxxxxxxxxxxxxxxxxxxxxx' | replace('x', 'y' * 10000000) }}".to_owned(),
    ] {
        let begun = Instant::now();
        let outcome = rendered(&template, &json!([]));
        assert!(begun.elapsed() < Duration::from_secs(10), "{template:.80}");
        if let Ok(text) = outcome {
            assert!(text.len() < 4 << 20, "{template:.80}: {} bytes", text.len());
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_is_written_there_panics_or_grows_without_bound(
        template in prop_oneof![
            any::<String>(),
            "(\\{\\{|\\}\\}|\\{%|%\\}| if | for | in |values\\.a|range\\(9\\)|[|~*.()]|'x'|endif|endfor|\n| set | sh| yaml){0,40}",
        ],
        value in any::<String>(),
    ) {
        let values = json!([{"name": "a", "value": value}]);
        let made = inputs(&template, &values).render(&BTreeMap::new());
        if let Ok(files) = made {
            prop_assert!(files["user-data"].len() < 4 << 20);
        }
    }

    #[test]
    fn a_quoted_value_changes_nothing_but_its_own_field(value in any::<String>()) {
        let values = json!([{"name": "a", "value": value}]);
        let text = rendered("x: {{ values.a | yaml }}\ny: 1\n", &values).unwrap();
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        prop_assert_eq!(read, json!({"x": value, "y": 1}));
    }
}

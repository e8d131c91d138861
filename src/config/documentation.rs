//! The table as Markdown.

use std::fmt::Write;

use super::definition::{ConfigDefinition, Validator};
use super::known::broker_keys;
use super::support::Support;
use super::table::{BROKER_CONFIGS, TOPIC_CONFIGS};

/// Every configuration as Markdown tables: what is implemented for brokers and topics, and what Kafka has beside that.
pub fn render_markdown() -> String {
    let mut text = String::from(
        "### Broker configurations\n\n| Name | Type | Default | Values | Change | What it does |\n|---|---|---|---|---|---|\n",
    );
    let mut broker: Vec<&ConfigDefinition> = BROKER_CONFIGS.iter().collect();
    broker.sort_by_key(|definition| definition.name);
    for definition in broker {
        render(&mut text, definition, definition.update_mode.name());
    }
    text.push_str("\n### Topic configurations\n\n| Name | Type | Default | Values | Default from the broker's | What it does |\n|---|---|---|---|---|---|\n");
    for definition in TOPIC_CONFIGS {
        let synonyms: Vec<String> = definition.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        render(&mut text, definition, &synonyms.join(", "));
    }
    text.push_str("\n### Broker configurations of Apache Kafka that are not implemented\n\n| Name | |\n|---|---|\n");
    for key in broker_keys().iter().filter(|key| key.support != Support::Implemented) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {} |", key.definition.name, key.definition.documentation);
    }
    text
}

fn render(text: &mut String, definition: &ConfigDefinition, fifth: &str) {
    let default = match definition.default {
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
        None => "none".to_owned(),
    };
    let kind = definition.kind.name().to_lowercase();
    let values = values(definition.validator);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "| `{}` | {kind} | {default} | {values} | {fifth} | {} |",
        definition.name, definition.documentation
    );
}

fn values(validator: Validator) -> String {
    match validator {
        Validator::Any | Validator::Items(true) => String::new(),
        Validator::AtLeast(least) => format!("{least} or more"),
        Validator::MinusOneOrAtLeast(least) => format!("-1, {least} or more"),
        Validator::Between(least, most) => format!("{least} to {most}"),
        Validator::Fraction => "0 to 1".to_owned(),
        Validator::DoubleBetween(least, most) => format!("{least} to {most}"),
        Validator::GzipLevel => "1 to 9, -1".to_owned(),
        Validator::OneOf(words) | Validator::ListOf(words, _) => words.join(", "),
        Validator::Items(false) => "not empty".to_owned(),
        Validator::ThrottledReplicas => "`partition:broker`, `*`".to_owned(),
    }
}

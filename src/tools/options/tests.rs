//! joptsimple's rules, as its documentation and Kafka's tools show them.

use super::*;
use crate::tools::commands::CommandError;

fn parser() -> OptionParser {
    OptionParser::new(vec![
        OptionSpec::required("topic", "topic", "The topic."),
        OptionSpec::required("partitions", "# of partitions", "How many.").integer().default("3"),
        OptionSpec::required("bootstrap-server", "server", "Where.").alias("b"),
        OptionSpec::required("names", "", "Several.").separated_by(','),
        OptionSpec::optional("maybe", "", "Perhaps."),
        OptionSpec::flag("list", "All."),
        OptionSpec::flag("q", "Quiet."),
    ])
}

fn parse(words: &[&str]) -> Result<Options, CommandError> {
    parser().parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

fn refused(words: &[&str]) -> String {
    parse(words).expect_err("refused").to_string()
}

#[test]
fn values_stand_behind_a_blank_or_an_equals_sign() {
    for words in [&["--topic", "a"][..], &["--topic=a"], &["-topic", "a"], &["-topic=a"]] {
        assert_eq!(parse(words).expect("options").value("topic").expect("one"), Some("a"), "{words:?}");
    }
    let options = parse(&["--topic", "--list", "x", "--", "--list"]).expect("options");
    assert_eq!(options.value("topic").expect("one"), Some("--list"), "an argument is taken as it is");
    assert_eq!((options.has("list"), options.arguments()), (false, &["x".to_owned(), "--list".to_owned()][..]));
    for words in [&["-b", "h"][..], &["-bh"], &["-qb", "h"], &["-qbh"], &["--bootstrap-server", "h"], &["-b=h"]] {
        assert_eq!(parse(words).expect("options").value("bootstrap-server").expect("one"), Some("h"), "{words:?}");
    }
}

#[test]
fn values_may_be_several_optional_or_the_default() {
    let options = parse(&["--names", "a,b", "--names", "c", "--maybe", "--list"]).expect("options");
    assert_eq!(options.values("names"), ["a", "b", "c"]);
    assert!(options.has("maybe") && options.values("maybe").is_empty() && options.has("list"));
    assert_eq!(options.number::<i32>("partitions").expect("a number"), Some(3));
    assert!(!options.has("partitions"), "a default does not stand on the line");
    assert_eq!(options.in_order().collect::<Vec<_>>(), ["names", "names", "maybe", "list"]);
}

#[test]
fn what_joptsimple_refuses_is_refused_in_its_words() {
    assert_eq!(refused(&["--zookeeper", "x"]), "zookeeper is not a recognized option");
    assert_eq!(refused(&["-x"]), "x is not a recognized option");
    assert_eq!(refused(&["--topic"]), "Option topic requires an argument");
    assert_eq!(refused(&["-b"]), "Option b/bootstrap-server requires an argument");
    let options = parse(&["--topic", "a", "--topic", "b", "--partitions", "many"]).expect("options");
    let several = options.value("topic").expect_err("two");
    assert_eq!(several.to_string(), "Found multiple arguments for option topic, but you asked for only one");
    let number = options.number::<i32>("partitions").expect_err("none");
    assert_eq!(number.to_string(), "Cannot parse argument 'many' of option partitions");
}

#[test]
fn checks_say_what_kafka_s_say() {
    let parser = parser();
    let options = parse(&["--topic", "a", "--list"]).expect("options");
    let error = |result: Result<(), CommandError>| result.expect_err("refused").to_string();
    assert_eq!(
        error(parser.required(&options, &["topic", "bootstrap-server"])),
        "Missing required argument \"[b, bootstrap-server]\""
    );
    assert_eq!(
        error(parser.not_with(&options, "topic", &["list"])),
        "Option \"[topic]\" can't be used with option \"[list]\""
    );
    assert!(parser.one_of(&options, &["topic", "maybe"]).is_ok());
    assert_eq!(
        error(parser.one_of(&options, &["topic", "list"])),
        "Exactly one of the following arguments is required: [topic], [list]"
    );
    assert!(matches!(parser.help_or_version(&options, "x"), Ok(())));
    let version = parse(&["--version"]).expect("options");
    assert!(matches!(parser.help_or_version(&version, "x"), Err(CommandError::Version)));
}

#[test]
fn help_has_two_columns() {
    let help = OptionParser::plain(vec![
        OptionSpec::required("topic", "topic", "REQUIRED: The topic."),
        OptionSpec::required("b", "", "Text long enough to be broken, once or twice, at a blank and then again.")
            .integer(),
        OptionSpec::flag("list", "All of them."),
        OptionSpec::required("names", "", "Some.").default("x"),
    ])
    .help();
    // The widths follow the widest cell: checked by lines, without the blanks at their ends.
    let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let printed = lines(&help);
    assert_eq!(printed.len(), 7, "{help}");
    assert!(printed[2].starts_with("-b <Integer>") && printed[3].trim_start().ends_with("then again."), "{help}");
    assert!(printed[6].starts_with("--topic <String: topic>  REQUIRED: The topic."), "{help}");
    assert!(help.lines().all(|line| line.len() == help.lines().next().map_or(0, str::len)), "{help}");
}

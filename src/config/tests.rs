//! The table is whole, the order of strength holds, and every refusal says what to mend.

use std::collections::HashMap;

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn resolved(flags: Pairs<'_>, variables: Pairs<'_>, file: Option<&str>) -> Result<Loaded> {
    let flags: HashMap<_, _> = flags.iter().copied().collect();
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    resolve(&Sources {
        flag: &|name| flags.get(name).map(|text| (*text).to_owned()),
        variable: &|name| Ok(variables.get(name).map(|text| (*text).to_owned())),
        file: file.map(|text| {
            (
                PathBuf::from("skep.toml"),
                text.parse().expect("the test's TOML is sound"),
            )
        }),
    })
}

fn refusal(flags: Pairs<'_>, variables: Pairs<'_>, file: Option<&str>) -> String {
    resolved(flags, variables, file)
        .expect_err("the value is wrong")
        .message
}

fn origin(loaded: &Loaded, name: &str) -> String {
    let found = loaded
        .found
        .iter()
        .find(|found| found.name == name)
        .expect("the setting exists");
    format!("{} <- {}", found.shown, found.origin)
}

#[test]
fn every_row_is_whole() {
    for (at, setting) in SETTINGS.iter().enumerate() {
        let name = setting.name;
        assert!(
            SETTINGS[at + 1..].iter().all(|other| other.name != name),
            "{name} twice"
        );
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
        assert!(
            !setting.doc.is_empty() && !setting.doc.contains('\n') && !setting.example.is_empty(),
            "{name}"
        );
        if !setting.default.is_empty() {
            let mut config = Config::blank();
            assert_eq!(
                (setting.set)(&mut config, setting.default),
                Ok(()),
                "{name}"
            );
        }
    }
    assert_eq!(
        (SETTINGS[5].flag(), SETTINGS[5].variable()),
        ("max-queued".into(), "SKEP_MAX_QUEUED".into())
    );
}

#[test]
fn the_defaults_are_the_contracts() {
    let config = Config::default();
    assert_eq!(
        (config.data.to_str(), config.listen.as_str()),
        (Some("skep.db"), "127.0.0.1:8080")
    );
    assert_eq!(
        (config.workers, config.max_queued, config.max_direct),
        (32, 100_000, 1_024)
    );
    assert_eq!((config.senders, config.senders_per_origin), (64, 4));
    assert_eq!(
        (config.max_connections, config.max_connections_per_peer),
        (8_192, 2_048)
    );
    assert_eq!(config.body_limit, 1_048_576);
    assert_eq!(config.direct_timeout, Duration::from_secs(110));
    assert_eq!(config.retain_runs, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.shutdown_grace, Duration::from_secs(7));
    assert_eq!(
        (config.log_level, config.log_format),
        (log::LevelFilter::Info, LogFormat::Text)
    );
    assert_eq!(
        (config.allow_outbound.as_str(), config.allow_outbound_steps),
        ("", None)
    );
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let (flag, variable, file) = (("workers", "1"), ("SKEP_WORKERS", "2"), "workers = 3");
    let cases = [
        (
            resolved(&[flag], &[variable], Some(file)),
            1,
            "1 <- flag --workers",
        ),
        (
            resolved(&[], &[variable], Some(file)),
            2,
            "2 <- variable SKEP_WORKERS",
        ),
        (resolved(&[], &[], Some(file)), 3, "3 <- file skep.toml"),
        (resolved(&[], &[], None), 32, "32 <- default"),
    ];
    for (loaded, workers, came) in cases {
        let loaded = loaded.expect("the values are sound");
        assert_eq!(loaded.config.workers, workers);
        assert_eq!(origin(&loaded, "workers"), came);
    }
}

#[test]
fn a_wrong_value_is_named_with_its_origin_what_was_expected_and_what_came() {
    assert_eq!(
        refusal(&[], &[("SKEP_WORKERS", "many")], None),
        "workers: expected a whole number from 0 to 4096, got \"many\" (from the variable SKEP_WORKERS)"
    );
    assert_eq!(
        refusal(&[("direct_timeout", "5")], &[], None),
        "direct_timeout: expected a duration such as 250ms, 20s, 2h or 7d, got \"5\" (from the flag --direct-timeout)"
    );
    assert_eq!(
        refusal(&[], &[], Some("log_level = true")),
        "log_level: expected a text, a whole number or a list of texts, got a boolean (from the file skep.toml)"
    );
    for (name, wrong) in [
        ("listen", "8080"),
        ("listen", ":8080"),
        ("listen", "::1:8080"),
        ("listen", "a:65536"),
        ("listen", "[x]:1"),
        ("public_url", "skep.example"),
        ("public_url", "ftp://skep.example"),
        ("public_url", "https://me:pw@skep.example"),
        ("public_url", "https://skep.example/?a=1"),
        ("trusted_proxies", "10.0.0.0/33"),
        ("trusted_proxies", "10.0.0.0/+8"),
        ("trusted_proxies", "proxy.example"),
        ("senders_per_origin", "0"),
        ("direct_timeout", "0s"),
        ("retain_runs", "for ever"),
        ("body_limit", "0"),
        ("body_limit", "1MB"),
        ("body_limit", "2GiB"),
        ("body_limit", "18446744073709551615GiB"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("data", ""),
    ] {
        let sentence = refusal(&[(name, wrong)], &[], None);
        assert!(
            sentence.starts_with(&format!("{name}: expected ")),
            "{sentence}"
        );
    }
}

#[test]
fn an_unknown_key_in_the_file_names_the_nearest() {
    assert_eq!(
        refusal(&[], &[], Some("worker = 3")),
        "skep.toml: there is no setting \"worker\", did you mean workers?"
    );
    assert_eq!(
        refusal(&[], &[], Some("zzz = 3")),
        "skep.toml: there is no setting \"zzz\""
    );
}

#[test]
fn a_broken_or_missing_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broken.toml");
    let none = |_: &str| None;
    let missing = load(&none, Some(&path))
        .expect_err("there is no file")
        .message;
    assert!(
        missing.starts_with(&format!("cannot read {}: ", path.display())),
        "{missing}"
    );
    std::fs::write(&path, "workers = 3\nlisten = \n").expect("the folder is writable");
    let broken = load(&none, Some(&path))
        .expect_err("the file is broken")
        .message;
    assert!(
        broken.starts_with(&format!("{}, line 2: ", path.display())),
        "{broken}"
    );
    assert!(!broken.contains('\n'), "{broken}");
}

#[test]
fn lists_sizes_and_durations_read_as_written() {
    let loaded = resolved(
        &[
            ("body_limit", "64KiB"),
            ("retain_runs", "forever"),
            ("shutdown_grace", "0s"),
        ],
        &[("SKEP_ALLOW_OUTBOUND", " 10.0.0.0/8:443 , receiver.test,")],
        Some("trusted_proxies = [\"10.0.0.1\", \"fd00::/8\"]\nallow_outbound_steps = \"\""),
    )
    .expect("the values are sound");
    let config = loaded.config;
    assert_eq!((config.body_limit, config.retain_runs), (65_536, None));
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(config.allow_outbound, "10.0.0.0/8:443,receiver.test");
    assert_eq!(
        config.allow_outbound_steps.as_deref(),
        Some(""),
        "an empty list still replaces"
    );
    assert_eq!(config.allow_outbound_callbacks, None);
    assert_eq!(config.trusted_proxies, ["10.0.0.1", "fd00::/8"]);
    for (text, bytes) in [
        ("17", 17),
        ("17B", 17),
        ("64KiB", 65_536),
        ("1MiB", 1 << 20),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(value::size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn public_urls_lose_the_slash_at_the_end_and_keep_the_base_path() {
    for (written, kept) in [
        ("https://skep.example", "https://skep.example"),
        ("https://skep.example/", "https://skep.example"),
        (
            "http://Skep.example:8080/flows/",
            "http://skep.example:8080/flows",
        ),
    ] {
        assert_eq!(value::base_url(written).as_deref(), Ok(kept));
    }
}

#[test]
fn secrets_come_from_a_variable_a_file_or_skep_toml_and_are_never_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("master");
    std::fs::write(&path, "from-a-file\n").expect("the folder is writable");
    let path = path.to_str().expect("a UTF-8 path");
    let admin = "0123456789abcdef01234567";
    let loaded = resolved(
        &[],
        &[("SKEP_ADMIN_KEY", admin), ("SKEP_MASTER_KEY_FILE", path)],
        Some("master_key = \"weaker\""),
    )
    .expect("the values are sound");
    let master = loaded.config.master_key.as_ref().expect("it is set");
    assert_eq!(master.expose(), "from-a-file");
    assert_eq!(
        origin(&loaded, "master_key"),
        "set <- variable SKEP_MASTER_KEY_FILE"
    );
    assert_eq!(
        origin(&loaded, "admin_key"),
        "set <- variable SKEP_ADMIN_KEY"
    );
    let printed = format!("{loaded:?}");
    assert!(
        !printed.contains(admin) && !printed.contains("from-a-file"),
        "{printed}"
    );

    let both = refusal(
        &[],
        &[("SKEP_MASTER_KEY", "x"), ("SKEP_MASTER_KEY_FILE", path)],
        None,
    );
    assert_eq!(
        both,
        "SKEP_MASTER_KEY and SKEP_MASTER_KEY_FILE are both set: set one of them"
    );
    let gone = refusal(&[], &[("SKEP_MASTER_KEY_FILE", "/nowhere/at/all")], None);
    assert!(
        gone.starts_with("SKEP_MASTER_KEY_FILE: cannot read /nowhere/at/all: "),
        "{gone}"
    );
}

#[test]
fn a_short_admin_key_is_refused_without_being_repeated() {
    let sentence = refusal(&[], &[("SKEP_ADMIN_KEY", "swordfish")], None);
    assert_eq!(
        sentence,
        "admin_key: expected at least 24 characters, got 9 (from the variable SKEP_ADMIN_KEY)"
    );
}

#[test]
fn a_flag_cannot_set_a_secret() {
    let loaded = resolved(&[("master_key", "seen-in-ps")], &[], None).expect("it is not looked at");
    assert_eq!(loaded.config.master_key, None);
    assert_eq!(origin(&loaded, "master_key"), "not set <- default");
}

#[test]
fn clients_find_their_server_and_key() {
    let none = |_: &str| Ok(None);
    let found = client_from(None, None, &none).expect("the default is sound");
    assert_eq!(
        found,
        Client {
            url: DEFAULT_URL.to_owned(),
            key: None
        }
    );
    let set = |name: &str| match name {
        "SKEP_URL" => Ok(Some("http://far:1/base/".to_owned())),
        "SKEP_KEY" => Ok(Some("fhk_1".to_owned())),
        _ => Ok(None),
    };
    let found = client_from(None, None, &set).expect("the variables are sound");
    assert_eq!(
        found,
        Client {
            url: "http://far:1/base".to_owned(),
            key: Some(Secret::new("fhk_1"))
        }
    );
    let found =
        client_from(Some("http://near".into()), Some("fhk_2".into()), &set).expect("flags win");
    assert_eq!(
        found,
        Client {
            url: "http://near".to_owned(),
            key: Some(Secret::new("fhk_2"))
        }
    );
    let wrong = client_from(Some("near".into()), None, &none)
        .expect_err("not a URL")
        .message;
    assert_eq!(
        wrong,
        "url: expected a URL such as https://skep.example, got \"near\" (from the flag --url)"
    );
}

#[test]
fn an_open_door_and_secrets_in_clear_are_warned_of() {
    let mut config = Config {
        master_key: Some(Secret::new("m")),
        ..Config::default()
    };
    assert_eq!(config.warnings(), Vec::<String>::new());
    for (listen, warned) in [
        ("[::1]:80", false),
        ("localhost:80", false),
        ("0.0.0.0:80", true),
        ("skep:80", true),
    ] {
        config.listen = listen.to_owned();
        assert_eq!(!config.warnings().is_empty(), warned, "{listen}");
    }
    config.public_url = Some("https://skep.example".to_owned());
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(Config::default().warnings().len(), 1);
}

#[test]
fn settings_of_mail_that_do_nothing_and_links_that_lead_nowhere_are_warned_of() {
    let quiet = || Config {
        master_key: Some(Secret::new("m")),
        mail_from: Some("skep@example.com".to_owned()),
        ..Config::default()
    };
    let idle = "mail_from is set but smtp_url is not: no mail is sent";
    assert_eq!(quiet().warnings(), [idle]);
    let mut told = quiet();
    told.smtp_url = Some("smtp://localhost".to_owned());
    let warnings = told.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("no public_url: "), "{warnings:?}");
    told.public_url = Some("https://skep.example".to_owned());
    assert_eq!(told.warnings(), Vec::<String>::new());
}

#[test]
fn a_subject_holds_no_braces_but_those_that_are_filled_in() {
    let read = super::value::mail_subject;
    assert_eq!(read(" {question}? "), Ok(Some("{question}?".to_owned())));
    for wrong in ["{name}", "{question", "a } b", "two\nlines", " "] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
}

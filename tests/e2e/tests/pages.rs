//! The pages of HTML in a real browser: in light and dark, on a wide and a small screen, and printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::{Ran, plugin, run, unpacked, workspace};
use serde_json::{Value, json};

use crate::browser::Browser;

/// Every value that is shown, by its path in the document.
const FIGURES: &str = "return Object.fromEntries([...document.querySelectorAll('[data-field]')].map(one => [one.dataset.field, one.value]))";

/// Shows a page in all ways.
fn look(browser: &Browser, page: &Path) {
    browser.open(page);
    let name = page.file_stem().expect("a name").to_string_lossy().into_owned();
    for (width, scheme, medium) in
        [(1280, "light", "screen"), (1280, "dark", "screen"), (390, "light", "screen"), (390, "dark", "screen")]
    {
        browser.show(width, scheme, medium);
        keep(&format!("{name}-{width}-{scheme}.png"), &browser.picture());
        assert_eq!(browser.faults(), [""; 0], "{name}: {width} pixels, {scheme}");
    }
    // Paper is white, whatever the reader likes.
    browser.show(760, "dark", "print");
    assert_eq!(browser.faults(), [""; 0], "{name}: printed");
    let paper = browser.script("return getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(255, 255, 255)");
    let printed = browser.print();
    keep(&format!("{name}.pdf"), &printed);
    let printed = BASE64_STANDARD.decode(printed).expect("base64");
    assert!(printed.starts_with(b"%PDF-"), "{name}");
}

/// Keeps a picture for somebody who asks for it.
fn keep(name: &str, base64: &str) {
    if let Some(folder) = std::env::var_os("BROWSER_PICTURES") {
        let bytes = BASE64_STANDARD.decode(base64).expect("base64");
        std::fs::write(PathBuf::from(folder).join(name), bytes).expect("a file");
    }
}

/// A value as a page has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn the_pages_are_readable_and_have_the_figures_of_the_document() {
    let (browser, folder) = (Browser::start(), tempfile::tempdir().expect("a folder"));
    let path = |name: &str| folder.path().join(name);
    let plugin = |args: &[&str]| -> Ran {
        let mut command = Command::new(plugin());
        command.args(args).current_dir(folder.path()).env("KUBECONFIG", "/nonexistent").env("HOME", folder.path());
        run(command)
    };
    let page = |name: &str, args: &[&str], code: i32| {
        let page = path(&format!("{name}.html"));
        std::fs::write(&page, plugin(&[args, &["-o", "html"]].concat()).expect_code(code).stdout).expect("a file");
        page
    };
    for name in ["kubeadm-ha", "control-characters", "broken-values", "3.5.1"] {
        std::fs::write(path(&format!("{name}.db")), unpacked(&format!("snapshots/{name}.db.zst"))).expect("a file");
    }
    for name in ["control-characters", "broken-values"] {
        look(&browser, &page(name, &["inspect", &format!("{name}.db")], 0));
    }
    look(&browser, &page("space", &["inspect", "kubeadm-ha.db"], 0));
    let document = plugin(&["inspect", "kubeadm-ha.db", "-o", "json"]).expect_code(0).json();
    let figures: BTreeMap<String, String> = serde_json::from_value(browser.script(FIGURES)).expect("figures");
    assert!(figures.len() > 100, "{figures:?}");
    for (path, shown) in &figures {
        let value = document.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
        assert_eq!(*shown, text(value), "{path}");
    }

    // A press shows the other map, though the page has no script.
    browser.show(1280, "light", "screen");
    let maps =
        "return [...document.querySelectorAll('.map')].filter(map => map.checkVisibility()).map(map => map.className)";
    assert_eq!(browser.script(maps), json!(["map of-bytes"]));
    browser.press("label[for=by-revisions]");
    assert_eq!(browser.script(maps), json!(["map of-revisions"]));
    assert_eq!(browser.faults(), [""; 0]);

    // A drill that passes, and one of values that nobody can read.
    let etcd = workspace().join("target/tools/etcd-3.5.16/etcd").display().to_string();
    let drill = |name: &str, code: i32| {
        page(&format!("drill-{name}"), &["drill", &format!("{name}.db"), "--etcd", &etcd], code)
    };
    look(&browser, &drill("3.5.1", 0));
    look(&browser, &drill("broken-values", 3));
}

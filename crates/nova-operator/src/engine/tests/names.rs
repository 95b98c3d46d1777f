//! The engine knows no kind and no backend by name.

use std::path::{Path, PathBuf};

use nova_api::Kind;
use nova_plan::adapters::BACKENDS;

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// `NovaTenant` → `nova_tenant`.
fn snake(camel: &str) -> String {
    let mut text = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// What the engine may not say: each kind, each backend by id, title, module and definition, and what their own child
/// kinds are called.
fn forbidden() -> Vec<String> {
    let mut words = Vec::new();
    for kind in Kind::ALL {
        words.extend([kind.as_str().to_owned(), snake(kind.as_str()), kind.plural().to_owned()]);
        words.push(format!("\"{}\"", kind.controller()));
    }
    for backend in BACKENDS {
        words.extend([backend.id, backend.title, backend.capability].map(str::to_owned));
        words.extend(backend.crds.iter().map(|crd| (*crd).to_owned()));
        let kinds = backend.children.iter().chain(backend.reads).chain(backend.leaves);
        words.extend(kinds.filter(|kind| kind.backend.is_some()).map(|kind| kind.group.to_owned()));
    }
    words.extend(
        ["adapters::capsule", "adapters::vela", "Capsule", "Vela", "capsule::", "vela::"].map(str::to_owned),
    );
    words
}

/// The source of a file without its tests, which may take any kind as an example.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn no_source_of_the_engine_names_a_kind_or_a_backend() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine"), &mut files);
    assert!(files.len() > 20, "{files:?}");
    let mut found = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        for (number, line) in without_tests(&source).lines().enumerate() {
            // The crate of the decisions is called as a kind is.
            let line = line.replace("nova_plan", "");
            for word in forbidden().iter().filter(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {word}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_search_would_find_one() {
    let words = forbidden();
    for line in [
        "Kind::NovaTenant",
        "mod nova_app;",
        "novatenants",
        "&vela::BACKEND",
        "// Capsule strips them",
        "\"kubevela\"",
    ] {
        assert!(words.iter().any(|word| line.contains(word.as_str())), "{line}");
    }
}

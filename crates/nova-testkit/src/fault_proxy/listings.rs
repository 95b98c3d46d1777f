//! The lists that have passed, kept to be told again when they are old. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use serde_json::Value;

use super::request::parameter;

/// Lists of one request that are kept; the oldest go first.
const KEPT: usize = 16;

/// Lists by what asked for them.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<BTreeMap<String, VecDeque<Vec<Bytes>>>>);

/// What makes two requests ask for the same list: path, selectors, and as what it comes.
fn key(path: &str, query: &str, accept: &str) -> String {
    let selector = |name: &str| parameter(query, name).unwrap_or_default().to_owned();
    [path.to_owned(), selector("labelSelector"), selector("fieldSelector"), accept.to_owned()].join(" ")
}

impl Listings {
    /// Keeps a page; one without a continuation in its request begins a new list.
    pub(super) fn keep(&self, path: &str, query: &str, accept: &str, page: Bytes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = all.entry(key(path, query, accept)).or_default();
        match lists.back_mut() {
            Some(list) if parameter(query, "continue").is_some_and(|token| !token.is_empty()) => {
                list.push(page);
            }
            _ => lists.push_back(vec![page]),
        }
        if lists.len() > KEPT {
            lists.pop_front();
        }
    }

    /// The `n`-th list from the oldest, as one page.
    pub(super) fn get(&self, path: &str, query: &str, accept: &str, n: usize) -> Option<String> {
        let pages = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&key(path, query, accept))?.get(n)?.clone()
        };
        let mut pages = pages.iter().map(|page| serde_json::from_slice::<Value>(page).ok());
        let mut whole = pages.next()??;
        for page in pages {
            let Some(Value::Array(more)) = page.map(|mut page| page["items"].take()) else { continue };
            whole["items"].as_array_mut()?.extend(more);
        }
        let metadata = whole["metadata"].as_object_mut()?;
        metadata.remove("continue");
        metadata.remove("remainingItemCount");
        Some(whole.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_older_list_comes_back_as_one_page() {
        let lists = Listings::default();
        let page = |version: &str, next: &str, name: &str| {
            Bytes::from(
                json!({"metadata": {"resourceVersion": version, "continue": next}, "items": [name]})
                    .to_string(),
            )
        };
        lists.keep("/pods", "limit=1", "", page("7", "x", "a"));
        lists.keep("/pods", "limit=1&continue=x", "", page("7", "", "b"));
        lists.keep("/pods", "limit=1", "", page("9", "", "c"));
        lists.keep("/pods", "limit=1&labelSelector=q", "", page("3", "", "d"));
        let read = |query: &str, n: usize| {
            let text = lists.get("/pods", query, "", n)?;
            serde_json::from_str::<Value>(&text).ok()
        };
        let old = json!({"metadata": {"resourceVersion": "7"}, "items": ["a", "b"]});
        assert_eq!(read("limit=5", 0), Some(old));
        assert_eq!(read("", 1).unwrap()["items"], json!(["c"]));
        assert_eq!(read("labelSelector=q", 0).unwrap()["items"], json!(["d"]));
        assert_eq!(read("", 2), None);
    }
}

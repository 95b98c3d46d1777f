//! Objects as they are kept in a store. No I/O.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use nova_api::{Kind, NovaKind, Place};
use nova_plan::ChildFacts;
use nova_plan::app::Leaf;
use nova_plan::child::Live;
use nova_plan::names::label;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fetched::Fetched;
use super::packed::{Dictionary, Text};

/// Something in a store: it knows the resource version it was seen at.
pub trait Versioned: Clone + Send + Sync + 'static {
    /// `metadata.resourceVersion` as a number; versions of one kind can be compared (KEP-5504).
    fn version(&self) -> u64;

    /// The same in less memory, to be kept.
    #[must_use]
    fn packed(&self, _dictionary: &mut Dictionary) -> Self {
        self.clone()
    }
}

/// The number in a resource version; 0 for what is not one.
pub fn version_of(meta: &kube::core::ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// A child, as text and what is looked at often.
#[derive(Debug, Clone)]
pub struct CachedObject(Arc<ChildInner>);

#[derive(Debug)]
struct ChildInner {
    version: u64,
    facts: ChildFacts,
    created: Option<Timestamp>,
    seen_at: tokio::time::Instant,
    status_hash: u64,
    content_hash: u64,
    text: Result<Text, String>,
    applied: Option<Text>,
    view: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Versioned for CachedObject {
    fn version(&self) -> u64 {
        self.0.version
    }

    fn packed(&self, dictionary: &mut Dictionary) -> Self {
        let it = &*self.0;
        Self(Arc::new(ChildInner {
            facts: it.facts.clone(),
            text: it.text.as_ref().map(|text| text.packed(dictionary)).map_err(Clone::clone),
            applied: it.applied.as_ref().map(|applied| applied.packed(dictionary)),
            view: OnceLock::new(),
            ..*it
        }))
    }
}

impl CachedObject {
    /// Keeps a fetched object.
    #[must_use]
    pub fn new(object: Fetched) -> Self {
        let Fetched { metadata, text, applied, status: _, status_hash, content_hash } = object;
        Self(Arc::new(ChildInner {
            version: version_of(&metadata),
            created: metadata.creation_timestamp.as_ref().map(|t| t.0),
            facts: ChildFacts {
                deleting: metadata.deletion_timestamp.is_some(),
                owner_uid: metadata.labels.and_then(|mut labels| labels.remove(label::OWNER_UID)),
                uid: metadata.uid.unwrap_or_default(),
            },
            seen_at: tokio::time::Instant::now(),
            status_hash,
            content_hash,
            text: text.map(Text::from),
            applied: applied.map(Text::from),
            view: OnceLock::new(),
        }))
    }

    /// UID, owner and whether it is being deleted.
    #[must_use]
    pub fn facts(&self) -> &ChildFacts {
        &self.0.facts
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.facts.uid
    }

    /// UID of the Nova object it was made for, by its label.
    #[must_use]
    pub fn owner_uid(&self) -> Option<&str> {
        self.0.facts.owner_uid.as_deref()
    }

    /// Being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.0.facts.deleting
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.0.created
    }

    /// When this process first saw this version of it.
    #[must_use]
    pub fn seen_at(&self) -> tokio::time::Instant {
        self.0.seen_at
    }

    /// Equal for equal `status`.
    #[must_use]
    pub fn status_hash(&self) -> u64 {
        self.0.status_hash
    }

    /// It has a status.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.0.status_hash != 0
    }

    /// True when nothing but status and versions differs from another version of it, what we own of it included.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.0.content_hash == other.0.content_hash
    }

    /// The object, parsed anew; one that cannot be read is empty, and nothing of it is ours.
    #[must_use]
    pub fn live(&self) -> Live {
        let parse = |text: &Text| serde_json::from_str::<Value>(&text.get().ok()?).ok();
        let body = self.0.text.as_ref().ok().and_then(parse);
        Live { applied: self.0.applied.as_ref().and_then(parse), body: body.unwrap_or_default() }
    }

    /// The object as a narrow type, parsed once for each version of it. Each kind is read as one type only.
    pub fn view<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<&T, &str> {
        let text = self.0.text.as_ref().map_err(String::as_str)?;
        let view = self.0.view.get_or_init(|| {
            let parse = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
            let parsed: Result<T, String> = text.get().and_then(|text| parse(&text));
            Box::new(parsed)
        });
        match view.downcast_ref::<Result<T, String>>() {
            Some(parsed) => parsed.as_ref().map_err(String::as_str),
            None => Err("it is read as two types"),
        }
    }
}

/// A leaf of what is delivered.
#[derive(Debug, Clone)]
pub struct CachedLeaf {
    /// Resource version.
    pub version: u64,
    /// The object that it was delivered for, by its name.
    pub of: String,
    /// What it is and how it is.
    pub leaf: Arc<Leaf>,
}

impl Versioned for CachedLeaf {
    fn version(&self) -> u64 {
        self.version
    }
}

/// A Nova object: what is known of every one, and the whole as text, which may be unreadable for its kind.
#[derive(Debug, Clone)]
pub struct CachedNova(Arc<NovaInner>);

#[derive(Debug)]
struct NovaInner {
    version: u64,
    meta: NovaMeta,
    ready: bool,
    text: Result<Text, String>,
    /// Of one whose text is not known.
    status: Option<Box<str>>,
    parsed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What is known of every Nova object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NovaMeta {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Being deleted since.
    pub deleting: Option<Timestamp>,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

impl Versioned for CachedNova {
    fn version(&self) -> u64 {
        self.0.version
    }

    fn packed(&self, dictionary: &mut Dictionary) -> Self {
        let it = &*self.0;
        Self(Arc::new(NovaInner {
            meta: it.meta.clone(),
            text: it.text.as_ref().map(|text| text.packed(dictionary)).map_err(Clone::clone),
            status: it.status.clone(),
            parsed: it.parsed.clone(),
            ..*it
        }))
    }
}

impl CachedNova {
    /// Keeps a fetched object.
    #[must_use]
    pub fn new(object: Fetched) -> Self {
        let Fetched { metadata, text, status, .. } = object;
        let ready = text.as_deref().is_ok_and(is_ready);
        Self(Arc::new(NovaInner {
            version: version_of(&metadata),
            ready,
            text: text.map(Text::from),
            status,
            meta: NovaMeta {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
                uid: metadata.uid.unwrap_or_default(),
                resource_version: metadata.resource_version.unwrap_or_default(),
                generation: metadata.generation.unwrap_or(0),
                created: metadata.creation_timestamp.map(|t| t.0),
                deleting: metadata.deletion_timestamp.map(|t| t.0),
                finalizers: metadata.finalizers.unwrap_or_default(),
            },
            parsed: OnceLock::new(),
        }))
    }

    /// What is known of it, readable or not.
    #[must_use]
    pub fn meta(&self) -> &NovaMeta {
        &self.0.meta
    }

    /// Its Ready is True.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready
    }

    /// The object as its kind, or why it is not one. Kinds of which there are many are parsed when they are asked for,
    /// the others once for each version.
    pub fn read<K: NovaKind>(&self) -> Result<Arc<K>, String> {
        let parse = || {
            let text = self.text()?;
            serde_json::from_str::<K>(&text).map(Arc::new).map_err(|error| error.to_string())
        };
        if K::PLACE == Place::Project {
            return parse();
        }
        if let Some(parsed) = self.0.parsed.get().and_then(|p| p.clone().downcast::<K>().ok()) {
            return Ok(parsed);
        }
        let parsed = parse()?;
        let _ = self.0.parsed.set(parsed.clone());
        Ok(parsed)
    }

    fn text(&self) -> Result<Cow<'_, str>, String> {
        self.0.text.as_ref().map_err(Clone::clone)?.get()
    }

    /// A text in it, field by field; also of an object that is not what its kind asks for.
    #[must_use]
    pub fn text_at(&self, path: &[&str]) -> Option<String> {
        let text = self.text().ok()?;
        let mut here = &*text;
        for field in path {
            here = raw_field(here, field)?;
        }
        serde_json::from_str(here).ok()
    }

    /// Its status as it is; null where there is none.
    #[must_use]
    pub fn status(&self) -> Value {
        let parse = |status: &str| serde_json::from_str(status).ok();
        let status = match self.text() {
            Ok(text) => raw_field(&text, "status").and_then(parse),
            Err(_) => self.0.status.as_deref().and_then(parse),
        };
        status.unwrap_or_default()
    }

    /// Nothing but its metadata is known.
    #[must_use]
    pub fn is_text_unknown(&self) -> bool {
        self.0.text.is_err()
    }
}

/// A field of an object, as text, without a look at the others.
fn raw_field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    let fields: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(text).ok()?;
    fields.get(field).map(|value| value.get())
}

fn is_ready(text: &str) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Whole<'a> {
        #[serde(borrow)]
        status: Status<'a>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status<'a> {
        #[serde(borrow)]
        conditions: Vec<Condition<'a>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Condition<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    let whole: Whole<'_> = serde_json::from_str(text).unwrap_or_default();
    whole.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

/// A Nova object as its kind, or what is known of one that cannot be read.
#[derive(Debug, Clone)]
pub enum Known<K> {
    /// It is what its kind asks for.
    Readable(Arc<K>),
    /// Its metadata are all that can be relied on.
    MetadataOnly,
}

/// What status calls a Nova object.
#[must_use]
pub fn title(kind: Kind, meta: &NovaMeta) -> String {
    nova_plan::tenancy::title_of(kind.as_str(), Some(&meta.namespace), &meta.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::v1alpha1::NovaTenant;

    fn tenant(spec: &str, status: &str) -> CachedNova {
        let text = format!(
            r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaTenant","metadata":{{"name":"a","resourceVersion":"7"}},
                "spec":{spec},"status":{status}}}"#
        );
        CachedNova::new(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn one_that_its_kind_does_not_understand_still_tells_what_guards_ask_for() {
        let newer = tenant(r#"{"deletionPolicy":"Sometimes","plan":"gold","devGroup":"g"}"#, "{}");
        assert!(newer.read::<NovaTenant>().is_err());
        assert_eq!(newer.text_at(&["spec", "plan"]).as_deref(), Some("gold"));
        assert_eq!(newer.text_at(&["spec", "none"]), None);
        assert_eq!(newer.meta().name, "a");
    }

    #[test]
    fn ready_is_read_without_the_rest() {
        let ready = r#"{"conditions":[{"type":"Ready","status":"True"}],"strange":[[[]]]}"#;
        assert!(tenant("{}", ready).is_ready());
        assert!(!tenant("{}", &ready.replace("True", "False")).is_ready());
        assert!(!tenant("{}", "null").is_ready());
    }
}

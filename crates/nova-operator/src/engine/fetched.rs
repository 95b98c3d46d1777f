//! An object as the API server sends it, kept as text: what people write is never turned into a tree on the way in. One
//! that is too large, or of which a reader could not be sure, does not keep the others from being read. No I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::ApiResource;
use nova_plan::child::{is_ours, union};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Longest object that is read, in bytes of JSON. The longest manifest that an app may hold fits twice.
pub const LARGEST: usize = 640 * 1024;

/// Longest status that is read of an object that itself is not.
const LARGEST_STATUS: usize = 64 * 1024;

/// Name under which `serde_json` hides text in a tree; read as part of one, its limit of depth begins anew.
const MAGIC: &str = "$serde_json::private";

/// An object: its metadata as far as they are needed, and the whole as compact text.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Name, namespace, UID, versions, times, labels and finalizers.
    pub metadata: ObjectMeta,
    /// The object without its `managedFields`, or why it is not read.
    pub text: Result<Box<str>, String>,
    /// The fields of it that we applied, in the format of `managedFields`.
    pub applied: Option<Box<str>>,
    /// The status of an object that is not read, where that can be: what was told of it is not told anew all the time.
    pub status: Option<Box<str>>,
    /// Equal for equal `status`; 0 where there is none.
    pub status_hash: u64,
    /// Equal where nothing differs but `status` and versions, `applied` included.
    pub content_hash: u64,
}

impl<'de> Deserialize<'de> for Fetched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taken as text first, for which no depth is too deep.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(text.get()).map_err(D::Error::custom)
    }
}

impl Fetched {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let Whole { metadata, status } = serde_json::from_str(text)?;
        let metadata = ObjectMeta::from(metadata);
        let status = status.map(RawValue::get);
        let refused = |why: String| {
            Ok(Self {
                metadata: metadata.clone(),
                text: Err(why),
                applied: None,
                status: status.filter(|s| s.len() <= LARGEST_STATUS && !s.contains(MAGIC)).map(Into::into),
                status_hash: hash(text),
                content_hash: 0,
            })
        };
        if text.len() > LARGEST {
            // Not how long it is: this goes into its status, which is part of it.
            return refused(format!("it has more than {} KiB, and is not read", LARGEST / 1024));
        }
        if text.contains(MAGIC) {
            return refused(format!("it holds {MAGIC}, which no program would write"));
        }
        let top: Fields<'_> = serde_json::from_str(text)?;
        let (meta, applied) = match top.get("metadata") {
            Some(meta) => without_managed_fields(meta.get())?,
            None => (String::from("{}"), None),
        };
        // An empty status, as the API server shows where there is none yet, counts as none.
        let status_hash = status.filter(|status| *status != "{}").map_or(0, hash);
        let content_hash = content_hash(&top, &meta, applied.as_deref())?;
        let kept = join(
            top.iter()
                .map(|(key, value)| (key, if *key == "metadata" { meta.as_str() } else { value.get() })),
        )?;
        Ok(Self { metadata, text: Ok(kept.into()), applied, status: None, status_hash, content_hash })
    }
}

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn join<'a>(fields: impl Iterator<Item = (&'a Cow<'a, str>, &'a str)>) -> Result<String, serde_json::Error> {
    let mut text = String::from("{");
    for (key, value) in fields {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(key)?);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Ok(text)
}

/// Of everything but `status` and what changes with each write, and of what is ours.
fn content_hash(top: &Fields<'_>, metadata: &str, applied: Option<&str>) -> Result<u64, serde_json::Error> {
    let meta: Fields<'_> = serde_json::from_str(metadata)?;
    let mut hasher = DefaultHasher::new();
    applied.hash(&mut hasher);
    for (key, value) in meta.iter().filter(|(key, _)| !["resourceVersion", "generation"].contains(&&***key)) {
        (key, value.get()).hash(&mut hasher);
    }
    for (key, value) in top.iter().filter(|(key, _)| !["metadata", "status"].contains(&&***key)) {
        (key, value.get()).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Metadata without their `managedFields`, and what of these is ours.
fn without_managed_fields(metadata: &str) -> Result<(String, Option<Box<str>>), serde_json::Error> {
    let mut fields: Fields<'_> = serde_json::from_str(metadata)?;
    let managed = fields.remove("managedFields");
    let kept = join(fields.iter().map(|(key, value)| (key, value.get())))?;
    let Some(managed) = managed else { return Ok((kept, None)) };
    let entries: Vec<Entry<'_>> = serde_json::from_str(managed.get())?;
    let mut ours = entries
        .into_iter()
        .filter(|e| is_ours(&e.manager, &e.operation, &e.subresource))
        .filter_map(|e| e.fields_v1);
    let Some(first) = ours.next() else { return Ok((kept, None)) };
    let rest: Vec<&RawValue> = ours.collect();
    if rest.is_empty() {
        return Ok((kept, Some(first.get().into())));
    }
    let mut all = serde_json::from_str(first.get())?;
    for more in rest {
        all = union(all, serde_json::from_str(more.get())?);
    }
    Ok((kept, Some(all.to_string().into())))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(default, borrow)]
    manager: Cow<'a, str>,
    #[serde(default, borrow)]
    operation: Cow<'a, str>,
    #[serde(default, borrow)]
    subresource: Cow<'a, str>,
    #[serde(default, borrow, rename = "fieldsV1")]
    fields_v1: Option<&'a RawValue>,
}

/// Equal for equal texts, in this process.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default)]
    metadata: Shallow,
    #[serde(default, borrow)]
    status: Option<&'a RawValue>,
}

/// What is needed of the metadata.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Shallow {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

impl From<Shallow> for ObjectMeta {
    fn from(shallow: Shallow) -> Self {
        Self {
            name: shallow.name,
            namespace: shallow.namespace,
            uid: shallow.uid,
            resource_version: shallow.resource_version,
            generation: shallow.generation,
            creation_timestamp: shallow.creation_timestamp,
            deletion_timestamp: shallow.deletion_timestamp,
            finalizers: shallow.finalizers,
            labels: shallow.labels,
            ..Self::default()
        }
    }
}

impl Resource for Fetched {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn api_version(dt: &ApiResource) -> Cow<'_, str> {
        dt.api_version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;
    use kube::core::{ObjectList, WatchEvent};

    fn object(parameters: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"web","namespace":"n","managedFields":[
                {{"manager":"kubenova/app","operation":"Apply","fieldsV1":{{"f:spec":{{}}}}}},
                {{"manager":"kubectl","operation":"Update","fieldsV1":{parameters}}}],
                "finalizers":["example.com/hold"]}},"spec":{{"parameters":{parameters}}}}}"#
        )
    }

    fn read(parameters: &str) -> Fetched {
        serde_json::from_str(&object(parameters)).unwrap()
    }

    #[test]
    fn one_that_lies_too_deep_does_not_hide_the_others() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(5000) + "1", "}".repeat(5000));
        let list = format!(
            r#"{{"apiVersion":"v1","kind":"List","metadata":{{}},"items":[{},{}]}}"#,
            object(&deep),
            object("{}")
        );
        let list: ObjectList<Fetched> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.items.len(), 2);
        assert_eq!(list.items[0].name_any(), "web");
        assert_eq!(list.items[0].finalizers(), ["example.com/hold"]);
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, object(&deep));
        let event: WatchEvent<Fetched> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(object) if object.text.is_ok()));
    }

    #[test]
    fn managed_fields_are_not_kept_but_for_what_we_applied() {
        let fetched = read(r#"{"long":"value"}"#);
        let text = fetched.text.unwrap();
        assert!(!text.contains("managedFields") && !text.contains("kubectl"), "{text}");
        assert!(text.contains(r#""parameters":{"long":"value"}"#), "{text}");
        assert_eq!(fetched.applied.as_deref(), Some(r#"{"f:spec":{}}"#));
    }

    #[test]
    fn what_is_too_large_or_would_deceive_a_reader_is_known_by_its_metadata_alone() {
        let large = read(&format!(r#"{{"x":"{}"}}"#, "y".repeat(LARGEST)));
        assert!(large.text.unwrap_err().contains("KiB"));
        let magic = read(r#"{"$serde_json::private::RawValue":"[]"}"#);
        assert!(magic.text.is_err());
        assert_eq!(magic.metadata.name.as_deref(), Some("web"));
    }
}

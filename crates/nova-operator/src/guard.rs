//! An object that may not be what it is taken for. One that cannot be read must not keep the others from being read,
//! and JSON that lies too deep for a reader would: it fails the whole list. No I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or why it cannot be read; in either case where it is and what else its metadata tell.
#[derive(Debug, Clone)]
pub struct Guarded<K> {
    /// Metadata, without `managedFields` where the object cannot be read.
    pub metadata: ObjectMeta,
    /// The object.
    pub object: Result<K, String>,
}

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taken as text first, for which no depth is too deep.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str::<K>(text.get()) {
            Ok(object) => Ok(Self { metadata: object.meta().clone(), object: Ok(object) }),
            Err(error) => {
                let Whole { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Ok(Self { metadata: metadata.into(), object: Err(error.to_string()) })
            }
        }
    }
}

#[derive(Deserialize)]
struct Whole {
    metadata: Shallow,
}

/// The metadata that are bounded by Kubernetes, which `managedFields` are not.
#[derive(Deserialize)]
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
    owner_references: Option<Vec<OwnerReference>>,
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
            owner_references: shallow.owner_references,
            ..Self::default()
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
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
    use nova_api::v1alpha1::NovaApp;

    fn app(parameters: &str) -> String {
        format!(
            r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaApp","metadata":{{"name":"web","namespace":"n",
                "managedFields":[{{"fieldsV1":{parameters}}}],"finalizers":["example.com/hold"]}},
                "spec":{{"source":{{"kind":"velaTemplate","velaTemplate":{{"template":"worker","parameters":{parameters}}}}}}}}}"#
        )
    }

    #[test]
    fn one_that_lies_too_deep_does_not_hide_the_others() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(500) + "1", "}".repeat(500));
        let list = format!(
            r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaAppList","metadata":{{}},"items":[{},{}]}}"#,
            app(&deep),
            app("{}")
        );
        assert!(serde_json::from_str::<ObjectList<NovaApp>>(&list).is_err(), "what this is here for");
        let list: ObjectList<Guarded<NovaApp>> = serde_json::from_str(&list).unwrap();
        assert!(list.items[0].object.is_err() && list.items[1].object.is_ok());
        assert_eq!(list.items[0].name_any(), "web");
        assert_eq!(list.items[0].finalizers(), ["example.com/hold"]);
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, app(&deep));
        let event: WatchEvent<Guarded<NovaApp>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(object) if object.object.is_err()));
    }
}

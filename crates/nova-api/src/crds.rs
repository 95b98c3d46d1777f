//! All custom resource definitions, in one order, ready to be written as YAML. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use crate::kinds::Kind;

/// Every definition, from the cluster down to the app.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    Kind::ALL.iter().map(|kind| tidy(kind.definition())).collect()
}

/// Name of the file that a definition is kept in, such as `novatenants.yaml`.
#[must_use]
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.yaml", crd.spec.names.plural)
}

/// Takes out of a derived definition what says nothing or the wrong thing to the API server.
fn tidy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            // The title is the name of a Rust type.
            schema.title = None;
            // Rules may name a field only if the schema declares it.
            schema.properties.get_or_insert_default().insert("metadata".to_owned(), metadata());
            walk(schema, &mut |schema| schema.nullable = None);
        }
    }
    crd
}

/// The part of the metadata that rules are about. The API server itself knows the rest.
fn metadata() -> JSONSchemaProps {
    let of_type = |type_: &str| JSONSchemaProps { type_: Some(type_.to_owned()), ..Default::default() };
    JSONSchemaProps { properties: Some([("name".to_owned(), of_type("string"))].into()), ..of_type("object") }
}

/// Calls `change` on a schema and on every schema below it.
///
/// An optional field is left out when it is not set. `nullable` would let `null` be stored, which a rule such as
/// `has(self.tag)` takes for a value.
fn walk(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        walk(property, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        walk(values, change);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => walk(items, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            for item in items {
                walk(item, change);
            }
        }
        None => {}
    }
}

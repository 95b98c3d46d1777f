//! A container image, run by Vela's `webservice`. Pure.

use nova_api::v1alpha1::{ContainerImage, ResourceAmounts, Resources};
use serde_json::{Map, Value, json};

use super::{Deliver, Delivery, Target};
use crate::problem::Problem;
use crate::quantity::Amount;

impl Deliver for ContainerImage {
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        let version = self.tag.clone().or_else(|| self.digest.clone());
        let version =
            version.ok_or_else(|| to.invalid("spec.source.containerImage has neither tag nor digest"))?;
        Ok(Delivery { component: "webservice".to_owned(), properties: webservice(self, to)?, version })
    }
}

/// Properties of Vela's `webservice`, every default written out where Vela would add one to the spec.
fn webservice(image: &ContainerImage, to: &Target<'_>) -> Result<Value, Problem> {
    let reference = match (&image.tag, &image.digest) {
        (_, Some(digest)) => format!("{}@{digest}", image.image),
        (Some(tag), None) => format!("{}:{tag}", image.image),
        (None, None) => image.image.clone(),
    };
    let mut properties = Map::from_iter([("image".to_owned(), json!(reference))]);
    if let Some(secret) = &image.credentials_secret_ref {
        properties.insert("imagePullSecrets".to_owned(), json!([secret.name]));
    }
    if !image.ports.is_empty() {
        let ports: Vec<Value> = image
            .ports
            .iter()
            .map(|p| json!({"port": p.port, "protocol": p.protocol.as_str(), "expose": p.expose}))
            .collect();
        properties.insert("ports".to_owned(), json!(ports));
    }
    if !image.env.is_empty() {
        let env: Vec<Value> = image
            .env
            .iter()
            .map(|e| match &e.secret_key_ref {
                Some(secret) => {
                    json!({"name": e.name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
                }
                None => json!({"name": e.name, "value": e.value.clone().unwrap_or_default()}),
            })
            .collect();
        properties.insert("env".to_owned(), json!(env));
    }
    if let Some(resources) = &image.resources {
        resource_properties(resources, to, &mut properties)?;
    }
    Ok(Value::Object(properties))
}

fn resource_properties(
    resources: &Resources,
    to: &Target<'_>,
    properties: &mut Map<String, Value>,
) -> Result<(), Problem> {
    let mut limit = Map::new();
    for (key, pick) in [("cpu", 0), ("memory", 1)] {
        let amount = |amounts: Option<&ResourceAmounts>| {
            let quantity = amounts.and_then(|a| if pick == 0 { a.cpu.as_ref() } else { a.memory.as_ref() });
            quantity.map(|q| Amount::parse(&q.0)).transpose().map_err(|invalid| {
                to.invalid(format!("spec.source.containerImage.resources {key}: {invalid}"))
            })
        };
        let (request, most) = (amount(resources.requests.as_ref())?, amount(resources.limits.as_ref())?);
        // Vela takes a lone request for the limit as well, and ignores a lone limit.
        if let Some(request) = request.or(most) {
            properties.insert(key.to_owned(), json!(request.to_string()));
        }
        if let Some(most) = most {
            limit.insert(key.to_owned(), json!(most.to_string()));
        }
    }
    if !limit.is_empty() {
        properties.insert("limit".to_owned(), Value::Object(limit));
    }
    Ok(())
}

//! The validation rules of the kinds, each a CEL expression with a message that names the field and the fix. No I/O.

use kube::core::Rule;

/// Shape that tenants, projects and sandboxes share; the namespace patterns depend on it.
pub(crate) fn name_shape(what: &str) -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')").message(&*format!(
        "metadata.name: the name of a {what} is made of lower-case letters, digits and '-', begins with a letter \
         and ends with a letter or digit"
    ))
}

/// At most `max` characters.
pub(crate) fn name_length(what: &str, max: usize) -> Rule {
    Rule::new(format!("self.metadata.name.size() <= {max}")).message(&*format!(
        "metadata.name: the name of a {what} has at most {max} characters; choose a shorter one"
    ))
}

/// No `--`: it would make two names that look alike.
pub(crate) fn name_without_double_hyphen(what: &str) -> Rule {
    Rule::new("!self.metadata.name.contains('--')")
        .message(&*format!("metadata.name: the name of a {what} has no '--'; use a single '-'"))
}

/// No whole hyphen-token that the namespace patterns use, so that no two objects can ask for the same namespace.
pub(crate) fn tenant_name_tokens() -> Rule {
    Rule::new("!self.metadata.name.matches('(^|-)(app|sandbox|db)(-|$)')").message(
        "metadata.name: no part of a tenant name between hyphens is 'app', 'sandbox' or 'db', because namespaces are \
         named tn-<tenant>-app-<project>; 'happy' is fine, 'a-app-b' is not",
    )
}

/// Names of tenants that would be taken for something else.
pub(crate) fn tenant_name_reserved() -> Rule {
    Rule::new("!(self.metadata.name in ['kube', 'system', 'default', 'capsule', 'vela', 'kubenova'])").message(
        "metadata.name: kube, system, default, capsule, vela and kubenova are reserved; choose another name",
    )
}

/// Nobody becomes a part of Kubernetes itself.
pub(crate) fn no_system_subject() -> Rule {
    Rule::new("!self.name.startsWith('system:')").field_path(".name").message(
        "name must not begin with 'system:'; name a ServiceAccount as kind ServiceAccount with <namespace>:<name>",
    )
}

/// The one form in which a `ServiceAccount` is named.
pub(crate) fn service_account_name() -> Rule {
    Rule::new(
        "self.kind != 'ServiceAccount' || \
         self.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?:[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
    )
    .field_path(".name")
    .message("name of a ServiceAccount must be <namespace>:<name>, such as tn-acme:kubenova-gitops")
}

/// A number of cores: an integer, a decimal number, or thousandths with `m`.
pub(crate) fn cores() -> Rule {
    Rule::new(
        "type(self) == int ? self >= 0 : string(self).matches('^[0-9]{1,9}([.][0-9]{1,3})?$|^[0-9]{1,12}m$')",
    )
    .message("must be a number of cores such as 4, 0.5 or 500m")
}

/// A number of bytes with an optional unit.
pub(crate) fn bytes() -> Rule {
    Rule::new(
        "type(self) == int ? self >= 0 : \
         string(self).matches('^[0-9]{1,15}([.][0-9]{1,3})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$')",
    )
    .message("must be an amount of bytes such as 512Mi or 4Gi ('m' would mean thousandths of a byte)")
}

/// `low.resource` is at most `high.resource`, where both are set.
pub(crate) fn at_most(low: &str, high: &str, resource: &str) -> Rule {
    Rule::new(format!(
        "!has(self.{low}) || !has(self.{low}.{resource}) || !has(self.{high}) || !has(self.{high}.{resource}) || \
         quantity(string(self.{low}.{resource})).compareTo(quantity(string(self.{high}.{resource}))) <= 0"
    ))
    .message(&*format!("{low}.{resource} must be at most {high}.{resource}; lower the one or raise the other"))
}

/// The member of a source is set if, and only if, `kind` names it.
pub(crate) fn member(name: &str) -> Rule {
    Rule::new(format!("(self.kind == '{name}') == has(self.{name})")).field_path(format!(".{name}")).message(
        &*format!("source.{name} must be set if source.kind is {name}, and must not be set otherwise"),
    )
}

/// The component's name, given or the app's own, stays: its pods and Services are found by it.
pub(crate) fn component_immutable() -> Rule {
    Rule::new(
        "(has(self.spec.component) ? self.spec.component : self.metadata.name) == \
         (has(oldSelf.spec.component) ? oldSelf.spec.component : oldSelf.metadata.name)",
    )
    .field_path(".spec.component")
    .message("component cannot be changed; make a new app of the other name and delete this one")
}

/// A URL of one of the schemes.
pub(crate) fn url(field: &str, schemes: &str, example: &str) -> Rule {
    Rule::new(format!("self.{field}.matches('^({schemes})://[^ /]+')"))
        .field_path(format!(".{field}"))
        .message(&*format!("{field} must be a URL such as {example}"))
}

/// No password in a URL: specs are read by many.
pub(crate) fn no_password(field: &str) -> Rule {
    Rule::new(format!("!self.{field}.matches('://[^/]*:[^/@]*@')")).field_path(format!(".{field}")).message(
        &*format!(
            "{field} must not hold a password; put it into a Secret and name that in credentialsSecretRef"
        ),
    )
}

//! The validation rules of the kinds, each a CEL expression with a message that tells the fix. No I/O.
//!
//! Rules live here rather than as schema patterns because a pattern's message is the pattern. The cost that the API
//! server estimates for a rule grows with the bounds of the fields it reads, so every field is bounded.

use kube::core::Rule;

/// A rule about `metadata.name`. The definitions declare that field so that it may be named (see `crds`).
fn on_name(expression: impl Into<String>, message: &str) -> Rule {
    Rule::new(expression).field_path(".metadata.name").message(message)
}

/// A rule about a field of the same object.
fn on(field: &str, expression: impl Into<String>, message: &str) -> Rule {
    Rule::new(expression).field_path(format!(".{field}")).message(message)
}

/// Shape of every name that becomes a part of a namespace or of a workload.
pub(crate) fn name_shape(what: &str) -> Rule {
    on_name(
        "self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
        &format!(
            "the name of a {what} is made of lower-case letters, digits and '-', begins with a letter and ends with a \
             letter or digit"
        ),
    )
}

/// At most `max` characters: names are never truncated, and what is made of them must fit into 63.
pub(crate) fn name_length(what: &str, max: usize) -> Rule {
    on_name(
        format!("self.metadata.name.size() <= {max}"),
        &format!("the name of a {what} has at most {max} characters; choose a shorter one"),
    )
}

/// No `--`.
pub(crate) fn name_without_double_hyphen(what: &str) -> Rule {
    on_name(
        "!self.metadata.name.contains('--')",
        &format!("the name of a {what} has no '--'; use a single '-'"),
    )
}

/// No whole hyphen-token that the namespace patterns use, so that no two objects can ask for the same namespace.
pub(crate) fn tenant_name_tokens() -> Rule {
    on_name(
        "!self.metadata.name.matches('(^|-)(app|sandbox|db)(-|$)')",
        "no part of a tenant name between hyphens is 'app', 'sandbox' or 'db', because namespaces are named \
         tn-<tenant>-app-<project>; 'happy' is fine, 'a-app-b' is not",
    )
}

/// Names of tenants that would be taken for something else.
pub(crate) fn tenant_name_reserved() -> Rule {
    on_name(
        "!(self.metadata.name in ['kube', 'system', 'default', 'capsule', 'vela', 'kubenova'])",
        "kube, system, default, capsule, vela and kubenova are reserved; choose another name",
    )
}

/// The only cluster there is so far.
pub(crate) fn cluster_is_local() -> Rule {
    on_name(
        "self.metadata.name == 'local'",
        "the cluster that KubeNova runs in is named 'local'; others cannot be added yet",
    )
}

/// Nobody becomes a part of Kubernetes itself.
pub(crate) fn no_system_subject() -> Rule {
    on(
        "name",
        "!self.name.startsWith('system:')",
        "name must not begin with 'system:'; a ServiceAccount is given as kind ServiceAccount and name <namespace>:<name>",
    )
}

/// A space at an end is a slip of the hand that would silently give no access.
pub(crate) fn no_outer_space() -> Rule {
    on(
        "name",
        "self.name.matches('^[^ ](.*[^ ])?$')",
        "name must not begin or end with a space, nor hold a line break",
    )
}

/// The one form in which a `ServiceAccount` is named.
pub(crate) fn service_account_name() -> Rule {
    on(
        "name",
        "self.kind != 'ServiceAccount' || \
         self.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?:[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        "name of a ServiceAccount must be <namespace>:<name>, such as tn-acme:kubenova-gitops",
    )
}

/// No developer group out of Kubernetes itself, such as `system:authenticated`.
pub(crate) fn no_system_group() -> Rule {
    Rule::new("!self.startsWith('system:') && self.matches('^[^ ](.*[^ ])?$')")
        .message("devGroup must not begin with 'system:', nor begin or end with a space")
}

/// The developer group, given or the one made of the name, stays: rights are bound to it.
pub(crate) fn dev_group_immutable() -> Rule {
    on(
        "spec.devGroup",
        "(has(self.spec.devGroup) ? self.spec.devGroup : self.metadata.name + '-devs') == \
         (has(oldSelf.spec.devGroup) ? oldSelf.spec.devGroup : oldSelf.metadata.name + '-devs')",
        "devGroup cannot be changed; it is <name>-devs where the tenant was created without one",
    )
}

/// A number of cores: an integer, a decimal number, or thousandths with `m`.
pub(crate) fn cores() -> Rule {
    Rule::new("string(self).matches('^[0-9]{1,9}([.][0-9]{1,3})?$|^[0-9]{1,12}m$')")
        .message("must be a number of cores such as 4, '0.5' or 500m")
}

/// A time to live: hours, minutes or both, at least ten minutes.
pub(crate) fn ttl() -> Rule {
    Rule::new(
        "self.matches('^([0-9]{1,4}h)?([0-9]{1,6}m)?$') && self != '' && duration(self) >= duration('10m')",
    )
    .message("ttl must be a time such as 8h, 90m or 1h30m, and at least 10m")
}

/// A number of things.
pub(crate) fn count() -> Rule {
    Rule::new("string(self).matches('^([0-9]{1,6}|[0-9]{1,3}k)$')")
        .message("must be a whole number such as 20, at most 999999")
}

/// A number of bytes with an optional unit.
pub(crate) fn bytes() -> Rule {
    Rule::new("string(self).matches('^[0-9]{1,15}(([.][0-9]{1,3})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi))?$')")
        .message("must be an amount of bytes such as 512Mi or 4Gi; 'm' would mean thousandths of a byte")
}

/// `low.resource` is at most `high.resource`, where both are set. What is no amount at all is left to its own rule.
pub(crate) fn at_most(low: &str, high: &str, resource: &str) -> Rule {
    let unset = |part: &str| {
        format!(
            "!has(self.{part}) || !has(self.{part}.{resource}) || !isQuantity(string(self.{part}.{resource}))"
        )
    };
    let amount = |part: &str| format!("quantity(string(self.{part}.{resource}))");
    on(
        &format!("{low}.{resource}"),
        format!("{} || {} || {}.compareTo({}) <= 0", unset(low), unset(high), amount(low), amount(high)),
        &format!("{low}.{resource} must be at most {high}.{resource}; lower the one or raise the other"),
    )
}

/// The member of a source is set if, and only if, `kind` names it.
pub(crate) fn member(name: &str) -> Rule {
    on(
        name,
        format!("(self.kind == '{name}') == has(self.{name})"),
        &format!("source.{name} must be set if source.kind is {name}, and must not be set otherwise"),
    )
}

/// Shape of a component's name, which becomes that of a Deployment and a Service.
pub(crate) fn component_shape() -> Rule {
    Rule::new("self.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')").message(
        "component is made of lower-case letters, digits and '-', begins with a letter and ends with a letter or digit",
    )
}

/// Name of a definition of `KubeVela`'s, or `<name>@<version>`: what cannot be one never gets as far as its answer.
pub(crate) fn definition_name(what: &str) -> Rule {
    Rule::new("self.matches('^[a-z0-9]([a-z0-9.@-]*[a-z0-9])?$')").message(
        format!(
            "{what} is made of lower-case letters, digits, '-', '.' and '@', and begins and ends with a letter or digit"
        )
        .as_str(),
    )
}

/// The component's name, given or the app's own, stays: its pods and Services are found by it.
pub(crate) fn component_immutable() -> Rule {
    on(
        "spec.component",
        "(has(self.spec.component) ? self.spec.component : self.metadata.name) == \
         (has(oldSelf.spec.component) ? oldSelf.spec.component : oldSelf.metadata.name)",
        "component cannot be changed; make a new app with the other name and delete this one",
    )
}

/// A URL of one of the schemes.
pub(crate) fn url(field: &str, schemes: &str, example: &str) -> Rule {
    on(
        field,
        format!("self.{field}.matches('^({schemes})://[^ /]+')"),
        &format!("{field} must be a URL such as {example}"),
    )
}

/// No password in a URL: specs are read by many.
pub(crate) fn no_password(field: &str) -> Rule {
    on(
        field,
        format!("!self.{field}.matches('://[^/]*:[^/@]*@')"),
        &format!(
            "{field} must not hold a password; put it into a Secret and name that in credentialsSecretRef"
        ),
    )
}

/// A path that stays inside a repository.
pub(crate) fn inner_path() -> Rule {
    on(
        "path",
        "!has(self.path) || !self.path.matches('^/|(^|/)[.][.](/|$)')",
        "path must stay inside the repository: no leading '/' and no '..'",
    )
}

/// An image's version is told exactly once.
pub(crate) fn tag_or_digest() -> Rule {
    Rule::new("has(self.tag) != has(self.digest)").message(
        "set exactly one of containerImage.tag and containerImage.digest; there is no silent 'latest'",
    )
}

/// Nor is it told in the repository.
pub(crate) fn repository_alone() -> Rule {
    Rule::new("!self.matches(':[^/]*$|@')").message(
        "image is the repository alone; what stands after ':' belongs into tag, what stands after '@' into digest",
    )
}

/// Shape of an image's repository. A tag or a digest at its end is left to [`repository_alone`], which tells more.
pub(crate) fn repository_shape() -> Rule {
    Rule::new("self.matches('^[a-z0-9][a-z0-9._-]*(:[0-9]{1,5}/[a-z0-9._-]+)?(/[a-z0-9._-]+)*([:@].*)?$')")
        .message("image must be a repository in lower case, such as nginx or ghcr.io/example/web")
}

/// Shape of a tag.
pub(crate) fn tag_shape() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*$')")
        .message("tag is made of letters, digits, '_', '.' and '-', such as 1.29")
}

/// Shape of a digest.
pub(crate) fn digest_shape() -> Rule {
    Rule::new("self.matches('^sha256:[a-f0-9]{64}$')")
        .message("digest is 'sha256:' and 64 hexadecimal digits")
}

/// A variable has one value.
pub(crate) fn value_or_secret() -> Rule {
    Rule::new("has(self.value) != has(self.secretKeyRef)")
        .message("set exactly one of value and secretKeyRef")
}

/// Shape of a variable's name.
pub(crate) fn variable_name() -> Rule {
    Rule::new("self.matches('^[A-Za-z_.-][A-Za-z0-9_.-]*$')").message(
        "the name of a variable is made of letters, digits, '_', '-' and '.', and does not begin with a digit",
    )
}

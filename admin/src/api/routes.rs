//! The table of routes. Router, description and the test of roles are made of it, so that none of them can forget one.

use std::sync::Arc;

use axum::routing::{MethodRouter, delete, get, patch, post, put};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::{accounts, allow_list, audit, configuration, domains, nodes, servers, session, stream};
use crate::accounts::Role;
use crate::allow_list::RuleOrder;
use crate::configuration::{CommitView, CurrentView, DifferenceView, DocumentView, PlanView};
use crate::office::Office;
use crate::views::{NodesView, Page};

/// One method of one path.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// As axum and OpenAPI both write it: `/api/v1/nodes/{node}`.
    pub path: &'static str,
    /// Who may.
    pub needs: Needs,
    /// In a few words.
    pub title: &'static str,
    /// What does it.
    pub handler: fn() -> MethodRouter<Arc<Office>>,
    /// Parameters after `?`.
    pub query: &'static [Parameter],
    /// What must be sent.
    pub body: Option<Body>,
    /// What comes back.
    pub answer: Answer,
    /// Whether `If-Match` may or must be sent.
    pub if_match: IfMatch,
    /// Whether the answer has an `ETag`.
    pub tagged: bool,
    /// Refusals besides those that any route may give, by their code.
    pub refusals: &'static [&'static str],
}

/// Whether `If-Match` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// It means nothing.
    No,
    /// It counts where it is sent.
    May,
    /// Without it nothing is changed.
    Must,
}

/// Who may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody who reaches the listener.
    Nothing,
    /// Whoever has at least this role.
    Role(Role),
    /// Whoever may open the control socket.
    Socket,
}

/// A parameter after `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// What it does.
    pub doc: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text(usize),
    /// Text that fits this pattern (ECMA 262, as JSON Schema has it), of at most so many characters.
    Like(&'static str, usize),
    /// A number from, to.
    Number(u64, u64),
    /// true or false.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// What is wrong with a value, in words that do not repeat it. Patterns are for those who read them.
    pub(super) fn refuses(&self, value: &str) -> Option<String> {
        match *self {
            Self::Text(most) | Self::Like(_, most) => {
                value.chars().nth(most).map(|_| format!("at most {most} characters"))
            }
            Self::Number(from, to) => {
                let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse().ok().filter(|number| is_number && (from..=to).contains(number));
                number.is_none().then(|| format!("a whole number, {from} to {to}"))
            }
            Self::Flag => (!["true", "false"].contains(&value)).then(|| "true or false".to_owned()),
            Self::OneOf(words) => (!words.contains(&value)).then(|| words.join(", ")),
        }
    }
}

/// Makes one.
pub type Shape = fn() -> Shaped;

/// Name, schema and the schemas it refers to.
pub type Shaped = (String, RefOr<Schema>, Vec<(String, RefOr<Schema>)>);

/// What must be sent.
#[derive(Clone, Copy)]
pub enum Body {
    /// JSON of this shape.
    Json(Shape),
}

/// What comes back.
#[derive(Clone, Copy)]
pub enum Answer {
    /// 200 with JSON of this shape.
    Json(Shape),
    /// 201 with JSON of this shape.
    Created(Shape),
    /// 200 with JSON of this shape, or text of this media type.
    JsonOr(Shape, &'static str),
    /// 200 with text of this media type.
    Text(&'static str),
    /// 204.
    Nothing,
}

/// The shape of a type.
fn shape<T: ToSchema>() -> Shaped {
    let mut others = Vec::new();
    T::schemas(&mut others);
    (T::name().into_owned(), T::schema(), others)
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        needs: Needs,
        title: &'static str,
        handler: fn() -> MethodRouter<Arc<Office>>,
    ) -> Self {
        let answer = Answer::Json(shape::<Value>);
        let if_match = IfMatch::No;
        Self {
            method,
            path,
            needs,
            title,
            handler,
            query: &[],
            body: None,
            answer,
            if_match,
            tagged: false,
            refusals: &[],
        }
    }

    const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    const fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body::Json(shape::<T>));
        self
    }

    const fn gives<T: ToSchema>(mut self) -> Self {
        self.answer = Answer::Json(shape::<T>);
        self
    }

    const fn gives_or<T: ToSchema>(mut self, kind: &'static str) -> Self {
        self.answer = Answer::JsonOr(shape::<T>, kind);
        self
    }

    const fn makes<T: ToSchema>(mut self) -> Self {
        self.answer = Answer::Created(shape::<T>);
        self
    }

    const fn tells(mut self, kind: &'static str) -> Self {
        self.answer = Answer::Text(kind);
        self
    }

    const fn gives_nothing(mut self) -> Self {
        self.answer = Answer::Nothing;
        self
    }

    const fn if_match(mut self, if_match: IfMatch) -> Self {
        self.if_match = if_match;
        self
    }

    const fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    const fn refuses(mut self, codes: &'static [&'static str]) -> Self {
        self.refusals = codes;
        self
    }
}

const READ: Needs = Needs::Role(Role::ReadOnly);
const OPERATE: Needs = Needs::Role(Role::Operator);
const ADMINISTER: Needs = Needs::Role(Role::Administrator);

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    NODES.iter().chain(CONFIGURATION).chain(DOMAINS).chain(SERVERS).chain(ALLOW_LIST).chain(WHO)
}

const fn text(name: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text(crate::limits::FILTER_CHARS_MAX), doc, required: false }
}

const NODE: Parameter = Parameter { name: "node", kind: NODE_NAME, doc: "Only what this node knows.", required: false };
/// As [`edgeway_model::NodeId`] takes it.
const NODE_NAME: Kind = Kind::Like("^[a-z0-9][a-z0-9-]*$", 63);
const AFTER: Parameter = Parameter {
    name: "after",
    kind: Kind::Like("^[A-Za-z0-9_-]+$", crate::limits::CURSOR_BYTES_MAX),
    doc: "`next` of the page before; without it the first page.",
    required: false,
};
const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Number(1, crate::limits::PAGE_MAX as u64),
    doc: "Entries of a page.",
    required: false,
};
const BEFORE: Parameter = Parameter {
    name: "before",
    kind: Kind::Number(0, i64::MAX as u64),
    doc: "`next` of the page before; without it the newest.",
    required: false,
};
const LEVEL: Parameter = Parameter {
    name: "level",
    kind: Kind::OneOf(&["debug", "info", "warning", "error"]),
    doc: "Only of this level and worse ones.",
    required: false,
};
/// As [`edgeway_model::attempt::Code`] is written: letters that look like digits are taken for them.
const CODE: Kind = Kind::Like("^[Ee][Ww]-?[0-9A-TV-Za-tv-z]{4}$", 7);
const USER: Parameter = text("user", "Only where the user's name contains this.");

const NODES: &[Route] = &[
    Route::new("GET", "/api/v1/nodes", READ, "All nodes with their status", || get(nodes::all)).gives::<NodesView>(),
    Route::new("GET", "/api/v1/nodes/{node}", READ, "The status of one node", || get(nodes::one)),
    Route::new("GET", "/api/v1/registrations", READ, "Registrations", || get(nodes::registrations))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>()
        .refuses(&["not_found"]),
    Route::new("GET", "/api/v1/calls", READ, "Calls", || get(nodes::calls))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>()
        .refuses(&["not_found"]),
    Route::new("GET", "/api/v1/chats", READ, "Chat sessions", || get(nodes::chats))
        .query(&[NODE, AFTER, LIMIT, USER])
        .gives::<Page>()
        .refuses(&["not_found"]),
    Route::new("GET", "/api/v1/events", READ, "What has happened last", || get(nodes::events))
        .query(&[NODE, AFTER, LIMIT, LEVEL, text("id", "Only events whose id begins so.")])
        .gives::<Page>()
        .refuses(&["not_found"]),
    Route::new("GET", "/api/v1/attempts", READ, "The last attempts of users, and why they were refused", || {
        get(nodes::attempts)
    })
    .query(&[
        NODE,
        AFTER,
        LIMIT,
        USER,
        Parameter { name: "code", kind: CODE, doc: "Only of this code, as the client shows it.", required: false },
        text("client", "Only of this client."),
    ])
    .gives::<Page>()
    .refuses(&["not_found"]),
    Route::new("GET", "/api/v1/maintenance/{node}", READ, "How maintenance mode stands", || get(nodes::maintenance)),
    Route::new(
        "PUT",
        "/api/v1/maintenance/{node}",
        OPERATE,
        "Begins maintenance mode, or changes its deadline",
        || put(nodes::begin_maintenance),
    )
    .takes::<nodes::MaintenanceOrder>()
    .refuses(&["conflict"]),
    Route::new("DELETE", "/api/v1/maintenance/{node}", OPERATE, "Ends maintenance mode", || {
        delete(nodes::end_maintenance)
    }),
    Route::new("GET", "/api/v1/calls/{node}/{id}", READ, "One call, with its media", || get(servers::one_call))
        .refuses(&["invalid", "conflict"]),
    Route::new("DELETE", "/api/v1/calls/{node}/{id}", OPERATE, "Ends a call", || delete(servers::end_call))
        .refuses(&["invalid", "conflict"]),
    Route::new("DELETE", "/api/v1/chats/{node}/{id}", OPERATE, "Ends a chat session", || delete(servers::end_chat))
        .refuses(&["invalid", "conflict"]),
    Route::new("GET", "/api/v1/alarms", READ, "Alarms of all nodes", || get(servers::alarms))
        .gives::<servers::AlarmsView>(),
    Route::new("GET", "/api/v1/certificates", READ, "Certificates of all nodes, and when they end", || {
        get(servers::certificates)
    }),
    Route::new("GET", "/api/v1/ladder", READ, "The messages of a call or a registration, of all nodes", || {
        get(nodes::ladder)
    })
    .query(&[NODE, text("user", "Of this user."), text("call_id", "Of this Call-ID."), text("trace", "Of this trace.")])
    .refuses(&["not_found"]),
    Route::new("PUT", "/api/v1/traces/{node}", OPERATE, "Begins to note the messages of a user", || {
        put(nodes::begin_trace)
    })
    .takes::<nodes::TraceOrder>()
    .refuses(&["conflict"]),
    Route::new("DELETE", "/api/v1/traces/{node}", OPERATE, "Notes no more messages", || delete(nodes::end_trace))
        .refuses(&["invalid", "conflict"]),
    Route::new("GET", "/api/v1/metrics", READ, "Metrics of this core for Prometheus", || get(nodes::metrics))
        .tells("text/plain"),
    Route::new("GET", "/api/v1/stream", READ, "What happens, as it happens: status, event, alarms", || {
        get(stream::follow)
    })
    .tells("text/event-stream")
    .refuses(&["too_many"]),
];

const SERVERS: &[Route] = &[
    Route::new("GET", "/api/v1/servers", READ, "UC servers, and what was found in them", || get(servers::list)),
    Route::new(
        "POST",
        "/api/v1/servers/refresh",
        OPERATE,
        "Asks known servers again; dry_run shows what would change",
        || post(servers::refresh),
    )
    .takes::<servers::RefreshOrder>()
    .refuses(&["not_found", "conflict"]),
    Route::new("POST", "/api/v1/servers/discover", OPERATE, "Asks for servers that are not known yet, too", || {
        post(servers::discover)
    })
    .takes::<servers::RefreshOrder>()
    .refuses(&["not_found", "conflict"]),
    Route::new("GET", "/api/v1/settings", READ, "All settings there are: default, unit, what a change takes", || {
        get(servers::settings)
    })
    .gives::<servers::SettingsView>(),
    Route::new("POST", "/api/v1/users/revoke", ADMINISTER, "Ends what a user has signed in to", || {
        post(servers::revoke)
    })
    .takes::<servers::UserOrder>()
    .refuses(&["not_found"]),
    Route::new("POST", "/api/v1/users/purge", ADMINISTER, "Forgets the remembered credentials of a user", || {
        post(servers::purge)
    })
    .takes::<servers::UserOrder>()
    .refuses(&["not_found"]),
];

const WHO: &[Route] = &[
    Route::new("GET", "/api/v1/session", READ, "Who is signed in", || get(session::show))
        .gives::<session::SessionView>(),
    Route::new("POST", "/api/v1/session", Needs::Nothing, "Signs in: the answer sets a cookie", || {
        post(session::sign_in)
    })
    .takes::<session::Credentials>()
    .gives::<session::SessionView>()
    .refuses(&["wrong_credentials", "too_many"]),
    Route::new("DELETE", "/api/v1/session", READ, "Signs out", || delete(session::sign_out))
        .gives_nothing()
        .refuses(&["conflict"]),
    Route::new(
        "POST",
        "/api/v1/session/first",
        Needs::Nothing,
        "Makes the first administrator, by the one-time code",
        || post(session::first),
    )
    .takes::<session::FirstCredentials>()
    .gives::<session::SessionView>()
    .refuses(&["wrong_credentials", "too_many", "changed_meanwhile", "conflict"]),
    Route::new(
        "PUT",
        "/api/v1/session/password",
        READ,
        "Changes one's own password; all sessions end but this one",
        || put(session::change_password),
    )
    .takes::<session::PasswordChange>()
    .gives::<session::SessionView>()
    .refuses(&["wrong_credentials", "too_many", "changed_meanwhile", "not_found", "conflict"]),
    Route::new("POST", "/api/v1/first-code", Needs::Socket, "A new code for a first sign-in", || {
        post(accounts::reset_code)
    })
    .makes::<accounts::MadeCode>(),
    Route::new("GET", "/api/v1/accounts", ADMINISTER, "Accounts", || get(accounts::list))
        .gives::<accounts::AccountsView>(),
    Route::new("POST", "/api/v1/accounts", ADMINISTER, "Makes an account", || post(accounts::add))
        .takes::<accounts::NewAccount>()
        .makes::<accounts::AccountView>()
        .tagged()
        .refuses(&["conflict"]),
    Route::new("GET", "/api/v1/accounts/{name}", ADMINISTER, "One account, with its ETag", || get(accounts::show))
        .gives::<accounts::AccountView>()
        .tagged(),
    Route::new("PATCH", "/api/v1/accounts/{name}", ADMINISTER, "Changes an account; its sessions end", || {
        patch(accounts::change)
    })
    .takes::<accounts::AccountPatch>()
    .gives::<accounts::AccountView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(&["conflict"]),
    Route::new("DELETE", "/api/v1/accounts/{name}", ADMINISTER, "Removes an account; its sessions end", || {
        delete(accounts::remove)
    })
    .gives_nothing()
    .if_match(IfMatch::Must)
    .refuses(&["conflict"]),
    Route::new("GET", "/api/v1/tokens", ADMINISTER, "API tokens, without their secrets", || get(accounts::tokens))
        .gives::<accounts::TokensView>(),
    Route::new("POST", "/api/v1/tokens", ADMINISTER, "Makes an API token", || post(accounts::add_token))
        .takes::<accounts::NewToken>()
        .makes::<accounts::MadeToken>()
        .refuses(&["conflict"]),
    Route::new("DELETE", "/api/v1/tokens/{id}", ADMINISTER, "Revokes an API token", || delete(accounts::revoke_token))
        .gives_nothing()
        .refuses(&["conflict"]),
    Route::new("GET", "/api/v1/audit", ADMINISTER, "Who did what, newest first", || get(audit::list))
        .query(&[BEFORE, LIMIT])
        .gives::<audit::AuditPage>(),
    Route::new("GET", "/api/v1/openapi.json", Needs::Nothing, "This description", || get(served_description)),
    Route::new("GET", "/api/v1/problems/{code}", Needs::Nothing, "What a refusal means", || get(meaning)),
];

async fn served_description() -> axum::Json<Value> {
    axum::Json(super::openapi::description())
}

async fn meaning(axum::extract::Path(name): axum::extract::Path<String>) -> Result<axum::Json<Value>, super::Problem> {
    let code = super::CODES.iter().find(|code| code.name == name);
    let code = code.ok_or_else(|| super::Problem::new("not_found", "There is no problem of that name."))?;
    let (title, title_ja) = code.title;
    let meaning = serde_json::json!({
        "code": code.name, "status": code.status, "title": title, "title_ja": title_ja, "what_to_do": code.doc,
    });
    Ok(axum::Json(meaning))
}

const fn needed(name: &'static str, doc: &'static str) -> Parameter {
    Parameter { required: true, ..number(name, doc) }
}

const fn number(name: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Number(0, i64::MAX as u64), doc, required: false }
}

const DOMAINS: &[Route] = &[
    Route::new("GET", "/api/v1/domains", READ, "The domains that are served, and how their registrars stand", || {
        get(domains::list)
    })
    .gives::<domains::DomainsView>()
    .tagged(),
    Route::new("GET", "/api/v1/domains/{domain}", READ, "One domain", || get(domains::show))
        .gives::<domains::DomainView>()
        .tagged(),
    Route::new(
        "PUT",
        "/api/v1/domains/{domain}",
        ADMINISTER,
        "Serves a domain, or gives it to another deployment: a change of the configuration",
        || put(domains::put),
    )
    .takes::<domains::DomainOrder>()
    .gives::<CommitView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(&["not_found", "conflict"]),
    Route::new(
        "DELETE",
        "/api/v1/domains/{domain}",
        ADMINISTER,
        "Serves a domain no more: a change of the configuration",
        || delete(domains::remove),
    )
    .query(&[text("comment", "Why; it stands in the history.")])
    .gives::<CommitView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(&["invalid", "conflict"]),
];

const CONFIGURATION: &[Route] = &[
    Route::new("GET", "/api/v1/configuration", READ, "The configuration that holds", || get(configuration::current))
        .gives::<CurrentView>()
        .tagged(),
    Route::new("PUT", "/api/v1/configuration", ADMINISTER, "Changes the configuration", || put(configuration::put))
        .takes::<configuration::ConfigurationOrderShape>()
        .gives::<CommitView>()
        .tagged()
        .if_match(IfMatch::Must)
        .refuses(&["invalid", "conflict", "changed_meanwhile", "not_understood", "unavailable"]),
    Route::new("POST", "/api/v1/configuration/plan", ADMINISTER, "What a change would do", || {
        post(configuration::plan)
    })
    .takes::<configuration::ConfigurationOrderShape>()
    .gives::<PlanView>()
    .refuses(&["invalid", "unavailable"]),
    Route::new("GET", "/api/v1/configuration/revisions", READ, "The history, newest first", || {
        get(configuration::revisions)
    })
    .query(&[number("before", "Only revisions before this one."), LIMIT])
    .gives::<configuration::RevisionsView>()
    .refuses(&["unavailable"]),
    Route::new("GET", "/api/v1/configuration/revisions/{number}", READ, "One revision with its text", || {
        get(configuration::revision)
    })
    .gives::<DocumentView>()
    .refuses(&["not_found", "unavailable"]),
    Route::new("GET", "/api/v1/configuration/diff", READ, "What makes one revision of another", || {
        get(configuration::difference)
    })
    .query(&[needed("from", "The one."), needed("to", "The other.")])
    .gives::<DifferenceView>()
    .refuses(&["not_found", "unavailable"]),
    Route::new(
        "POST",
        "/api/v1/configuration/rollback",
        ADMINISTER,
        "A new revision with the text of an old one",
        || post(configuration::rollback),
    )
    .takes::<configuration::RollbackOrder>()
    .gives::<CommitView>()
    .tagged()
    .if_match(IfMatch::May)
    .refuses(&["not_found", "invalid", "conflict", "changed_meanwhile", "unavailable"]),
    Route::new("POST", "/api/v1/configuration/confirm", OPERATE, "A revision that waits stays", || {
        post(configuration::confirm)
    })
    .takes::<configuration::ConfirmOrder>()
    .gives::<CurrentView>()
    .refuses(&["not_found", "unavailable"]),
    Route::new("GET", "/api/v1/configuration/origins", READ, "What each setting is, and where it is written", || {
        get(configuration::origins)
    })
    .gives::<configuration::OriginsView>(),
    Route::new("GET", "/api/v1/configuration/export", READ, "The whole configuration as a text to apply again", || {
        get(configuration::export)
    })
    .query(&[Parameter {
        name: "secrets",
        kind: Kind::Flag,
        doc: "With what is sealed; for administrators.",
        required: false,
    }])
    .tells("application/toml"),
];

const HOW: &[Parameter] = &[
    Parameter { name: "dry_run", kind: Kind::Flag, doc: "Only says what would change.", required: false },
    Parameter { name: "comment", kind: Kind::Text(1_024), doc: "Why; it stands in the history.", required: false },
    Parameter {
        name: "confirm_s",
        kind: Kind::Number(0, 86_400),
        doc: "The revision before comes back unless this one is confirmed within so many seconds.",
        required: false,
    },
];

const CHANGE_OF_RULES: &[&str] = &["invalid", "conflict", "changed_meanwhile", "not_understood", "unavailable"];

const ALLOW_LIST: &[Route] = &[
    Route::new(
        "GET",
        "/api/v1/allow-list",
        READ,
        "The HTTP server allow list in force, and where each rule is from",
        || get(allow_list::list),
    )
    .query(&[
        Parameter {
            name: "format",
            kind: Kind::OneOf(&["json", "csv"]),
            doc: "csv: as spreadsheets read it.",
            required: false,
        },
        Parameter {
            name: "origin",
            kind: Kind::OneOf(&["automatic", "file", "configuration"]),
            doc: "Only rules from there.",
            required: false,
        },
    ])
    .gives_or::<allow_list::RulesView>("text/csv"),
    Route::new("POST", "/api/v1/allow-list/rules", ADMINISTER, "Adds a rule to the configuration", || {
        post(allow_list::add)
    })
    .query(HOW)
    .takes::<RuleOrder>()
    .gives::<allow_list::RulesChangeView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(CHANGE_OF_RULES),
    Route::new("PUT", "/api/v1/allow-list/rules/{name}", ADMINISTER, "Changes a rule of the configuration", || {
        put(allow_list::change)
    })
    .query(HOW)
    .takes::<RuleOrder>()
    .gives::<allow_list::RulesChangeView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(CHANGE_OF_RULES),
    Route::new("DELETE", "/api/v1/allow-list/rules/{name}", ADMINISTER, "Removes a rule of the configuration", || {
        delete(allow_list::remove)
    })
    .query(HOW)
    .gives::<allow_list::RulesChangeView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(CHANGE_OF_RULES),
    Route::new(
        "POST",
        "/api/v1/allow-list/upload",
        ADMINISTER,
        "Takes rules of a CSV file into the configuration",
        || post(allow_list::upload),
    )
    .query(HOW)
    .takes::<allow_list::UploadOrder>()
    .gives::<allow_list::RulesChangeView>()
    .tagged()
    .if_match(IfMatch::Must)
    .refuses(CHANGE_OF_RULES),
    Route::new("POST", "/api/v1/allow-list/test", READ, "Whether URLs would be let through, and by which rule", || {
        post(allow_list::test)
    })
    .takes::<allow_list::TestsOrder>()
    .gives::<allow_list::TestsView>(),
];

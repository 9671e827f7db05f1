//! User Data Services: what a core asks at sign-in, and what clients ask through the proxy.

use std::fmt::Write as _;

use super::http::{Answer, Question, decoded, escaped};
use super::world::{Role, State, UcUser};

/// Most users one search brings.
const SEARCH_MAX: usize = 64;

/// `host` is the node that answers, `strange` a host to name in its stead everywhere.
pub(super) fn answer(state: &State, host: &str, question: &Question, strange: Option<&str>, empty: bool) -> Answer {
    let uds = Uds { state, host, strange, empty };
    let path = question.path.strip_prefix("/cucm-uds/").unwrap_or_default();
    let parts: Vec<String> = path.trim_end_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let reads = matches!(question.method.as_str(), "GET" | "HEAD");
    match (parts.as_slice(), reads) {
        (["version"], true) => uds.version(),
        (["clusterUser"], true) => uds.cluster_user(question),
        (["servers"], true) => uds.servers(),
        (["users"], true) => uds.users(&question.parameter("name").unwrap_or_default()),
        (["private", "users"], false) if question.method == "POST" => match question.user(state) {
            Some(_) => uds.users(""),
            None => Answer::unauthorized(),
        },
        (["user", user, rest @ ..], _) => uds.of_user(question, user, rest),
        (_, _) => {
            Answer::xml(404, "<errors><error><code>1</code><message>not found</message></error></errors>".to_owned())
        }
    }
}

struct Uds<'a> {
    state: &'a State,
    host: &'a str,
    strange: Option<&'a str>,
    empty: bool,
}

impl Uds<'_> {
    /// The name of a node as it is told.
    fn told<'b>(&'b self, host: &'b str) -> &'b str {
        self.strange.unwrap_or(host)
    }

    fn base(&self) -> String {
        format!("https://{}:8443/cucm-uds", escaped(self.told(self.host)))
    }

    /// `12.5.1`, as UDS tells it.
    fn short_version(&self) -> String {
        self.state.version.split('.').take(3).collect::<Vec<_>>().join(".")
    }

    fn version(&self) -> Answer {
        let (base, version) = (self.base(), self.short_version());
        let sso = self.state.sso;
        Answer::xml(
            200,
            format!(
                "<versionInformation uri=\"{base}/version\" version=\"{version}\"><version>{version}</version>\
             <capabilities><usersResourceAuthEnabled>false</usersResourceAuthEnabled><ssoEnabled>{sso}</ssoEnabled>\
             <oAuthRefreshLoginEnabled>{}</oAuthRefreshLoginEnabled></capabilities></versionInformation>",
                self.state.oauth
            ),
        )
    }

    fn cluster_user(&self, question: &Question) -> Answer {
        let by_name = question.parameter("username");
        let by_mail = question.parameter("email");
        let name = by_name.clone().or_else(|| by_mail.as_ref().and_then(|m| m.split('@').next().map(str::to_owned)));
        let (base, version) = (self.base(), self.short_version());
        let asked = match (&by_name, &by_mail) {
            (Some(name), _) => format!("username={}", escaped(name)),
            (None, Some(mail)) => format!("email={}", escaped(mail)),
            (None, None) => return Answer::text(400, "username or email"),
        };
        let known = name.and_then(|name| self.state.user(&name)).filter(|user| user.at_home && !self.empty);
        let Some(user) = known else {
            return Answer::xml(
                200,
                format!(
                    "<clusterUser version=\"{version}\" uri=\"{base}/clusterUser?{asked}\"><result found=\"false\"/></clusterUser>"
                ),
            );
        };
        Answer::xml(
            200,
            format!(
                "<clusterUser version=\"{version}\" uri=\"{base}/clusterUser?{asked}\">\
             <result found=\"true\" uri=\"{base}/user/{}\" version=\"{version}\"/>\
             <homeCluster serversUri=\"{base}/servers\">{}</homeCluster>\
             <homeClusterDetails><selfProvisioningSecureMode>false</selfProvisioningSecureMode>\
             <adminProvisionMode>false</adminProvisionMode></homeClusterDetails></clusterUser>",
                escaped(&user.name),
                escaped(self.told(self.host))
            ),
        )
    }

    fn servers(&self) -> Answer {
        let mut list = String::new();
        for node in self.state.listed(Role::CallManager).filter(|_| !self.empty) {
            let _ = write!(list, "<server>{}</server>", escaped(self.told(&node.name)));
        }
        let (base, version) = (self.base(), self.short_version());
        Answer::xml(200, format!("<servers version=\"{version}\" uri=\"{base}/servers\">{list}</servers>"))
    }

    fn users(&self, name: &str) -> Answer {
        let wanted = name.trim_end_matches('*').to_ascii_lowercase();
        let found = self.state.users.iter().filter(|user| user.name.to_ascii_lowercase().starts_with(&wanted));
        let found: Vec<&UcUser> = found.take(SEARCH_MAX).collect();
        let mut list = String::new();
        for user in &found {
            let _ = write!(list, "<user>{}</user>", self.summary(user));
        }
        let (base, version) = (self.base(), self.short_version());
        Answer::xml(
            200,
            format!(
                "<users uri=\"{base}/users\" version=\"{version}\" start=\"0\" requestedCount=\"{SEARCH_MAX}\" \
             returnedCount=\"{count}\" totalCount=\"{count}\">{list}</users>",
                count = found.len()
            ),
        )
    }

    fn summary(&self, user: &UcUser) -> String {
        let number = user.numbers.first().map(String::as_str).unwrap_or_default();
        format!(
            "<id>{id}</id><userName>{id}</userName><firstName>{id}</firstName><lastName/><phoneNumber>{}</phoneNumber>\
             <email>{id}@{}</email><directoryUri>{id}@{}</directoryUri>",
            escaped(number),
            escaped(&self.state.domain),
            escaped(&self.state.domain),
            id = escaped(&user.name)
        )
    }

    /// Everything below `user/<id>`: for that user alone.
    fn of_user(&self, question: &Question, name: &str, rest: &[&str]) -> Answer {
        let Some(shown) = question.user(self.state) else { return Answer::unauthorized() };
        let Some(user) = self.state.user(name) else { return Answer::unauthorized() };
        if !shown.eq_ignore_ascii_case(&user.name) {
            return Answer::xml(
                403,
                "<errors><error><code>3</code><message>not yours</message></error></errors>".to_owned(),
            );
        }
        let base = format!("{}/user/{}", self.base(), escaped(&user.name));
        let version = self.short_version();
        let list = |name: &str, inner: String| {
            Answer::xml(200, format!("<{name} uri=\"{base}/{name}\" version=\"{version}\">{inner}</{name}>"))
        };
        let reads = matches!(question.method.as_str(), "GET" | "HEAD");
        match (rest, reads) {
            ([], true) => self.user(user, &base),
            (["devices"], true) => list("devices", self.devices(user)),
            (["device", id], true) => self.device(user, id.trim_matches(['{', '}']), &base),
            (["extensions"], true) => {
                let mut inner = String::new();
                for number in &user.numbers {
                    let _ =
                        write!(inner, "<extension><directoryNumber>{}</directoryNumber></extension>", escaped(number));
                }
                list("extensions", inner)
            }
            (["remoteDestinations"], true) => list("remoteDestinations", String::new()),
            (["speedDials"], true) => list("speedDials", String::new()),
            (["subscribedServices"], true) => list("subscribedServices", String::new()),
            (["credentials"], true) => list("credentials", String::new()),
            (["max-devices"], true) => list("max-devices", "10".to_owned()),
            (["remoteDestinations" | "speedDials" | "credentials", ..], false) => Answer::new(204, "text/plain", ""),
            (_, _) => Answer::xml(
                404,
                "<errors><error><code>1</code><message>not found</message></error></errors>".to_owned(),
            ),
        }
    }

    fn user(&self, user: &UcUser, base: &str) -> Answer {
        let mut im = String::new();
        let mut nodes: Vec<_> = self.state.listed(Role::ImAndPresence).collect();
        nodes.sort_by_key(|node| user.im_home.as_ref().is_some_and(|home| *home != node.name));
        for node in nodes {
            let _ = write!(im, "<server>{}</server>", escaped(self.told(&node.name)));
        }
        let files = self.state.listed(Role::CallManager).find(|node| node.tftp).map_or("", |node| &node.name);
        let (version, with_im) = (self.short_version(), !im.is_empty());
        Answer::xml(
            200,
            format!(
                "<user uri=\"{base}\" version=\"{version}\">{}\
             <homeCluster enableCalendarPresence=\"false\" enableImAndPresence=\"{with_im}\">true</homeCluster>\
             <imAndPresence>{im}</imAndPresence><serviceProfile><uri>http://{}:6970/SPDefault.cnf.xml</uri></serviceProfile>\
             <devices uri=\"{base}/devices\"/><credentials uri=\"{base}/credentials\"/>\
             <extensions uri=\"{base}/extensions\"/><speedDials uri=\"{base}/speedDials\"/></user>",
                self.summary(user),
                escaped(self.told(files))
            ),
        )
    }

    fn devices(&self, user: &UcUser) -> String {
        let mut inner = String::new();
        for device in user.devices.iter().filter(|_| !self.empty) {
            let _ = write!(
                inner,
                "<device uri=\"{}/user/{}/device/{{{id}}}\"><id>{{{id}}}</id><name>{}</name><type>Phone</type>\
                 <model>{}</model><description editable=\"true\"></description><protocol>SIP</protocol></device>",
                self.base(),
                escaped(&user.name),
                escaped(&device.name),
                escaped(&device.model),
                id = escaped(&device.id),
            );
        }
        inner
    }

    fn device(&self, user: &UcUser, id: &str, base: &str) -> Answer {
        let Some(device) = user.devices.iter().find(|device| device.id == id) else {
            return Answer::xml(
                404,
                "<errors><error><code>1</code><message>no device</message></error></errors>".to_owned(),
            );
        };
        let files = self.state.listed(Role::CallManager).find(|node| node.tftp).map_or("", |node| &node.name);
        let name = escaped(&device.name);
        Answer::xml(
            200,
            format!(
                "<device uri=\"{base}/device/{{{id}}}\" version=\"{}\"><id>{{{id}}}</id><name>{name}</name><type>Phone</type>\
             <model>{}</model><protocol>SIP</protocol><provision><uri>http://{}:6970/{name}.cnf.xml</uri></provision></device>",
                self.short_version(),
                escaped(&device.model),
                escaped(self.told(files)),
                id = escaped(id),
            ),
        )
    }
}

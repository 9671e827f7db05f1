//! The files of the TFTP service, over HTTP.

use std::fmt::Write as _;

use super::http::{Answer, Question, decoded, escaped};
use super::world::{Role, State, UcDevice, UcUser};

pub(super) fn answer(state: &State, question: &Question) -> Answer {
    if !matches!(question.method.as_str(), "GET" | "HEAD") {
        return Answer::text(405, "GET and HEAD only");
    }
    let name = decoded(question.path.trim_start_matches('/'));
    if let Some(content) = state.files.get(&name) {
        return Answer::new(200, "application/octet-stream", content.clone());
    }
    let found = match name.as_str() {
        "jabber-config.xml" => Some(jabber_config(state)),
        "SPDefault.cnf.xml" => Some(service_profile(state)),
        "XMLDefault.cnf.xml" => Some(format!("<Default>{}</Default>", call_managers(state))),
        other => other.strip_suffix(".cnf.xml").and_then(|device| phone(state, device)),
    };
    match found {
        Some(text) => Answer::new(200, "text/xml", format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{text}\n")),
        None => Answer::text(404, "404 Not Found"),
    }
}

fn jabber_config(state: &State) -> String {
    format!(
        "<config version=\"1.0\"><Client><EnableAutoSave>true</EnableAutoSave></Client><Directory>\
         <DirectoryServerType>UDS</DirectoryServerType></Directory><Policies><ServicesDomainSsoEmailPrompt>OFF\
         </ServicesDomainSsoEmailPrompt></Policies><Voice><VoiceServicesDomain>{}</VoiceServicesDomain></Voice></config>",
        escaped(&state.domain)
    )
}

fn service_profile(state: &State) -> String {
    let mut servers = String::new();
    for node in state.listed(Role::ImAndPresence) {
        let _ = write!(servers, "<server><address>{}</address></server>", escaped(&node.name));
    }
    format!("<serviceProfile><imAndPresence>{servers}</imAndPresence></serviceProfile>")
}

fn call_managers(state: &State) -> String {
    let mut members = String::new();
    for (priority, node) in state.listed(Role::CallManager).enumerate() {
        let _ = write!(
            members,
            "<member priority=\"{priority}\"><callManager><name>{name}</name><processNodeName>{name}</processNodeName>\
             <ports><ethernetPhonePort>2000</ethernetPhonePort><sipPort>{}</sipPort><securedSipPort>{}</securedSipPort>\
             </ports></callManager></member>",
            node.sip_port,
            node.sip_tls_port,
            name = escaped(&node.name),
        );
    }
    format!("<callManagerGroup><members>{members}</members></callManagerGroup>")
}

fn phone(state: &State, name: &str) -> Option<String> {
    let owns = |user: &UcUser| user.devices.iter().find(|device| device.name.eq_ignore_ascii_case(name)).cloned();
    let (user, device) = state.users.iter().find_map(|user| Some((user, owns(user)?)))?;
    Some(phone_file(state, user, &device))
}

fn phone_file(state: &State, user: &UcUser, device: &UcDevice) -> String {
    let mut lines = String::new();
    for (index, number) in user.numbers.iter().enumerate() {
        let number = escaped(number);
        let _ = write!(
            lines,
            "<line button=\"{button}\"><featureID>9</featureID><featureLabel>{number}</featureLabel><name>{number}</name>\
             <displayName>{}</displayName><contact>{}-{button}</contact><proxy>USECALLMANAGER</proxy><port>5060</port>\
             </line>",
            escaped(&user.name),
            device.id,
            button = index + 1,
        );
    }
    let secure = device.secure && state.mixed_mode;
    let (mode, transport) = if secure { (3, 3) } else { (1, 2) };
    let capf = state.listed(Role::CallManager).find(|node| node.publisher).map_or("", |node| &node.name);
    format!(
        "<device xsi:type=\"axl:XIPPhone\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:axl=\"http://www.cisco.com/AXL/API/\"><fullConfig>true</fullConfig><deviceProtocol>SIP</deviceProtocol>\
         <devicePool>{}</devicePool><sipProfile><sipLines>{lines}</sipLines></sipProfile>\
         <deviceSecurityMode>{mode}</deviceSecurityMode><transportLayerProtocol>{transport}</transportLayerProtocol>\
         <certHash></certHash><sipOAuthMode>{}</sipOAuthMode><capfList><capf><phonePort>3804</phonePort>\
         <processNodeName>{}</processNodeName></capf></capfList></device>",
        call_managers(state),
        u8::from(secure && state.oauth),
        escaped(capf)
    )
}

//! What a server offers, and what of it a client hears.
//!
//! Before sign-in nothing but mechanisms passes, and of those only the ones that can work through two TLS connections:
//! no STARTTLS (the client's TLS stands already), no compression, no registration, no other way to sign in (XEP-0388),
//! no types of channel binding (XEP-0440), nothing unknown. After it everything passes but what would change the bytes
//! of the stream: STARTTLS and compression. Both are written anew, never copied.

use crate::element::Element;
use crate::limits::{HOSTNAME_BYTES_MAX, HOSTNAMES_MAX};
use crate::ns;
use crate::sasl::Mechanism;

/// What a server offers before sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// STARTTLS; whether it says that it must be is all the same.
    pub starttls: bool,
    /// Mechanisms that pass, in its order.
    pub mechanisms: Vec<Mechanism>,
    /// Where the user's home is, as IM and Presence servers say it within the mechanisms.
    pub hostnames: Vec<String>,
}

impl Offer {
    /// Reads `<stream:features/>`; `None` if it is another element.
    #[must_use]
    pub fn read(element: &Element) -> Option<Self> {
        if !is_features(element) {
            return None;
        }
        let mut offer = Self::default();
        for feature in &element.children {
            match (feature.namespace.as_str(), feature.name.as_str()) {
                (ns::TLS, "starttls") => offer.starttls = true,
                (ns::SASL, "mechanisms") => offer.mechanisms(feature),
                _ => {}
            }
        }
        Some(offer)
    }

    fn mechanisms(&mut self, element: &Element) {
        for child in &element.children {
            let text = child.text.trim();
            match (child.namespace.as_str(), child.name.as_str()) {
                (ns::SASL, "mechanism") => {
                    let new = Mechanism::named(text).filter(|mechanism| !self.mechanisms.contains(mechanism));
                    self.mechanisms.extend(new);
                }
                (ns::DOMAIN_BASED_NAME, "hostname") => {
                    let fits = !text.is_empty() && text.len() <= HOSTNAME_BYTES_MAX;
                    if fits && self.hostnames.len() < HOSTNAMES_MAX {
                        self.hostnames.push(text.to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// As a client hears it, within a stream whose header declares the prefix `stream`.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut mechanisms = Element::new("mechanisms", ns::SASL);
        for mechanism in &self.mechanisms {
            mechanisms.children.push(Element::new("mechanism", ns::SASL).with_text(mechanism.name()));
        }
        for hostname in &self.hostnames {
            mechanisms.children.push(Element::new("hostname", ns::DOMAIN_BASED_NAME).with_text(hostname));
        }
        write(vec![mechanisms])
    }
}

/// What a client hears of the features after sign-in, within a stream whose header declares the prefix `stream`; `None`
/// if `element` is another one.
#[must_use]
pub fn after_sign_in(element: &Element) -> Option<String> {
    const NOT_AGAIN: [&str; 6] =
        [ns::TLS, ns::SASL, ns::SASL_2, ns::SASL_CHANNEL_BINDING, ns::COMPRESSION_FEATURE, ns::COMPRESSION];
    let passes = |feature: &&Element| !NOT_AGAIN.contains(&feature.namespace.as_str());
    is_features(element).then(|| write(element.children.iter().filter(passes).cloned().collect()))
}

fn is_features(element: &Element) -> bool {
    element.is("features", ns::STREAMS)
}

fn write(features: Vec<Element>) -> String {
    Element { children: features, ..Element::new("features", ns::STREAMS) }.to_xml()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Option<Offer> {
        Offer::read(&Element::parse(xml.as_bytes()).expect("an element"))
    }

    #[test]
    fn mechanisms_that_pass_in_the_order_of_the_server() {
        let xml = "<stream:features><register xmlns='http://jabber.org/features/iq-register'/>\
            <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256-PLUS</mechanism>\
            <mechanism> PLAIN </mechanism><mechanism>CISCO-VTG-TOKEN</mechanism><mechanism>PLAIN</mechanism>\
            <mechanism xmlns='urn:x'>SCRAM-SHA-1</mechanism><mechanism>DIGEST-MD5</mechanism>\
            <hostname xmlns='urn:xmpp:domain-based-name:0'>im&lt;1&gt;.inside</hostname>\
            <hostname>im2.inside</hostname></mechanisms>\
            <mechanisms xmlns='urn:x'><mechanism>OAUTHBEARER</mechanism></mechanisms></stream:features>";
        let offer = read(xml).expect("features");
        assert_eq!(offer.mechanisms, [Mechanism::Plain, Mechanism::CiscoVtgToken]);
        assert_eq!(offer.hostnames, ["im<1>.inside"]);
        assert!(!offer.starttls);
        let heard = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
            <mechanism>PLAIN</mechanism><mechanism>CISCO-VTG-TOKEN</mechanism>\
            <hostname xmlns='urn:xmpp:domain-based-name:0'>im&lt;1&gt;.inside</hostname></mechanisms></stream:features>";
        assert_eq!(offer.to_xml(), heard);
        assert_eq!(read("<features/>"), None);
        assert_eq!(read("<stream:features/>"), Some(Offer::default()));
    }

    #[test]
    fn names_of_hosts_have_a_bound() {
        let host = "<hostname xmlns='urn:xmpp:domain-based-name:0'>h</hostname>".repeat(HOSTNAMES_MAX + 1);
        let long = host.replacen(">h<", &format!(">{}<", "h".repeat(HOSTNAME_BYTES_MAX + 1)), 1);
        for (hosts, count) in [(host, HOSTNAMES_MAX), (long, HOSTNAMES_MAX)] {
            let xml = format!(
                "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{hosts}</mechanisms></stream:features>"
            );
            let hostnames = read(&xml).expect("features").hostnames;
            assert_eq!(hostnames, vec!["h"; count]);
        }
    }

    #[test]
    fn after_sign_in_what_is_unknown_stays() {
        let xml = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><new xmlns='urn:new' a='&lt;'><b>x</b></new>\
            <c xmlns='http://jabber.org/protocol/caps' hash='sha-1'/></stream:features>";
        let heard = after_sign_in(&Element::parse(xml.as_bytes()).expect("an element"));
        assert_eq!(heard.as_deref(), Some(xml));
        assert_eq!(after_sign_in(&Element::new("iq", ns::CLIENT)), None);
    }
}

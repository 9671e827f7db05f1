//! XML as a strict client reads it: one tree of elements, or nothing.

use quick_xml::Reader;
use quick_xml::events::Event;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, with its prefix.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its own text, references resolved, white space around it gone.
    pub text: String,
    /// The elements inside, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = vec![Self::default()];
        let close = |open: &mut Vec<Self>| {
            let done = open.pop().ok_or("an end too many")?;
            let parent = open.last_mut().ok_or("an end too many")?;
            parent.children.push(Self { text: done.text.trim().to_owned(), ..done });
            Ok::<(), String>(())
        };
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(element) => open.push(begun(&element)?),
                Event::Empty(element) => {
                    open.push(begun(&element)?);
                    close(&mut open)?;
                }
                Event::End(_) => close(&mut open)?,
                Event::Text(text) => append(&mut open, &text),
                Event::CData(text) => append(&mut open, &text),
                Event::GeneralRef(reference) => {
                    let resolved = quick_xml::escape::unescape(&format!("&{};", &*reference))
                        .map_err(|error| error.to_string())?
                        .into_owned();
                    append(&mut open, &resolved);
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::DocType(_) => return Err("a document type".to_owned()),
                Event::Eof => break,
            }
        }
        match open.as_mut_slice() {
            [root] if root.children.len() == 1 => root.children.pop().ok_or_else(|| "no element".to_owned()),
            _ => Err("not one whole element".to_owned()),
        }
    }

    /// The element at a path of names, the first one of each.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// The text at a path.
    #[must_use]
    pub fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str())
    }

    /// The children of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The names of the children, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.children.iter().map(|child| child.name.as_str()).collect()
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn begun(element: &quick_xml::events::BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = quick_xml::escape::unescape(&attribute.value).map_err(|error| error.to_string())?.into_owned();
        attributes.push((attribute.key.as_ref().to_owned(), value));
    }
    Ok(Element { name: element.name().as_ref().to_owned(), attributes, ..Element::default() })
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

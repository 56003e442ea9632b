//! Where in a message the mapped fields stand.

use super::value::{Fields, Value};

/// An object's member on the way to a field, or a field.
#[derive(Debug, Default)]
pub(super) struct Node {
    name: String,
    children: Vec<Node>,
    /// Which field ends here.
    pub slot: Option<usize>,
    /// An array here becomes a vector while it is read.
    pub is_vector: bool,
}

impl Node {
    /// Adds the field of a dotted path, unless it is there, and returns its slot.
    pub(super) fn add(&mut self, path: &str, slots: &mut usize) -> usize {
        let mut node = self;
        for name in path.split('.') {
            let at = node.children.iter().position(|child| child.name == name);
            let at = at.unwrap_or_else(|| {
                node.children.push(Self {
                    name: name.to_owned(),
                    ..Self::default()
                });
                node.children.len() - 1
            });
            node = &mut node.children[at];
        }
        *node.slot.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        })
    }

    /// The same for the vector.
    pub(super) fn add_vector(&mut self, path: &str, slots: &mut usize) -> usize {
        let slot = self.add(path, slots);
        let mut node = self;
        for name in path.split('.') {
            let at = node.children.iter().position(|child| child.name == name);
            node = &mut node.children[at.unwrap_or_default()];
        }
        node.is_vector = true;
        slot
    }

    /// The member of that name, where something in it was asked for.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Takes back what was read here and below.
    pub(super) fn forget(&self, fields: &mut Fields<'_>) {
        if let Some(slot) = self.slot {
            fields.set(slot, Value::Absent);
        }
        self.children.iter().for_each(|child| child.forget(fields));
    }
}

//! The walk that finds the parts of a message.
//!
//! The parts are found here, line by line, rather than by mail-parser: its search takes a boundary anywhere in
//! a line and as a prefix of a longer one, starts over for each boundary that never comes (quadratic on
//! hostile mail), and decodes every attachment to list one. This walk reads each octet once, takes memory for
//! the parts only, and goes no deeper than [`Limits::depth`].

use std::ops::Range;

use crate::{
    Limits,
    field::{self, Field, MediaType},
    structure::{Kind, Node},
    transfer::{self, Transfer},
};

#[derive(Debug, Clone, Copy)]
enum Stop {
    End,
    Boundary { level: usize, closing: bool, start: usize, next: usize },
}

/// A walk over one buffer.
pub(crate) struct Walk<'a> {
    data: &'a [u8],
    buffer: usize,
    line_end: u8,
    limits: &'a Limits,
    nodes: &'a mut Vec<Node>,
    boundaries: Vec<Vec<u8>>,
    /// Messages that must be decoded before they are walked.
    pub(crate) encoded: Vec<usize>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(data: &'a [u8], buffer: usize, limits: &'a Limits, nodes: &'a mut Vec<Node>) -> Self {
        let line_end = if memchr::memchr(b'\n', data).is_none() { b'\r' } else { b'\n' };
        Self { data, buffer, line_end, limits, nodes, boundaries: Vec::new(), encoded: Vec::new() }
    }

    /// Finds the parts of the message that the buffer is.
    pub(crate) fn root(&mut self, parent: Option<usize>, depth: u16) {
        let mut start = 0;
        // An mbox separator, and empty lines before the first field, are not the message's.
        if self.data.starts_with(b"From ") || self.data.starts_with(b">From ") {
            start = self.line_after(0);
        }
        let blank = self.data[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if blank > 0 && self.field_name(start + blank).is_some() {
            start += blank;
        }
        self.entity(start, parent, false, depth);
    }

    /// Where the line after the one at `at` starts.
    fn line_after(&self, at: usize) -> usize {
        memchr::memchr(self.line_end, &self.data[at..]).map_or(self.data.len(), |i| at + i + 1)
    }

    /// The name of the field that starts at `at`, if one does.
    fn field_name(&self, at: usize) -> Option<Range<usize>> {
        let rest = &self.data[at..];
        let end = rest.iter().position(|b| !(33..=126).contains(b) || *b == b':')?;
        let space = rest[end..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        (end > 0 && rest.get(end + space) == Some(&b':')).then_some(at..at + end)
    }

    /// The boundary line at `at`, if there is one: its level, whether it closes, where the next line starts.
    fn boundary_at(&self, at: usize) -> Option<(usize, bool, usize)> {
        let rest = self.data[at..].strip_prefix(b"--")?;
        // RFC 2046 §5.1.1 asks for the beginning of the line only. What follows white space is passed over, for
        // lack of a line that is the same as a boundary to its end: one may be the beginning of another.
        self.boundary_in(rest, false).or_else(|| self.boundary_in(rest, true))
    }

    fn boundary_in(&self, rest: &[u8], may_be_followed: bool) -> Option<(usize, bool, usize)> {
        for (level, boundary) in self.boundaries.iter().enumerate().rev() {
            let Some(tail) = rest.strip_prefix(&boundary[..]) else { continue };
            let (mut closing, tail) = match tail.strip_prefix(b"--") {
                Some(tail) => (true, tail),
                None => (false, tail),
            };
            let space = tail.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let mut tail = &tail[space..];
            if let (true, false, Some(after)) = (may_be_followed, closing, tail.strip_prefix(b"--")) {
                (closing, tail) = (true, after);
            }
            let ended = match tail {
                [] | [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'] => true,
                [b'\r', ..] => self.line_end == b'\r',
                _ => may_be_followed && space > 0,
            };
            if ended {
                return Some((level, closing, self.line_after(self.data.len() - tail.len())));
            }
        }
        None
    }

    /// The next boundary line from the line that starts at `at`.
    fn seek(&self, mut at: usize) -> Stop {
        if self.boundaries.is_empty() {
            return Stop::End;
        }
        let finder = memchr::memmem::Finder::new(if self.line_end == b'\n' { b"\n--" } else { b"\r--" });
        loop {
            if let Some((level, closing, next)) = self.boundary_at(at) {
                return Stop::Boundary { level, closing, start: at, next };
            }
            match finder.find(&self.data[at..]) {
                Some(i) => at += i + 1,
                None => return Stop::End,
            }
        }
    }

    /// Where content ends that a stop ends: the line break before a boundary belongs to it.
    fn content_end(&self, from: usize, stop: Stop) -> usize {
        let Stop::Boundary { start, .. } = stop else { return self.data.len() };
        let content = &self.data[from..start.max(from)];
        let content = content.strip_suffix(&[self.line_end]).unwrap_or(content);
        from + content.strip_suffix(b"\r").unwrap_or(content).len()
    }

    /// Reads a header section; gives the start of the body, or the stop that came before one.
    fn fields(&self, start: usize) -> (Vec<Field>, usize, Option<Stop>) {
        let mut fields: Vec<Field> = Vec::new();
        let read_end = start.saturating_add(self.limits.header_bytes);
        let mut continues = false;
        let mut at = start;
        while at < self.data.len() {
            if let Some((level, closing, next)) = self.boundary_at(at) {
                return (fields, at, Some(Stop::Boundary { level, closing, start: at, next }));
            }
            let next = self.line_after(at);
            let line = &self.data[at..next];
            if line.iter().all(|b| matches!(b, b'\r' | b'\n')) {
                return (fields, next, None);
            }
            if matches!(line[0], b' ' | b'\t') {
                if continues && let Some(last) = fields.last_mut() {
                    last.value.end = next.min(read_end);
                }
            } else if let Some(name) = self.field_name(at) {
                continues = fields.len() < self.limits.headers as usize && at < read_end;
                if continues {
                    let colon = self.data[name.end..].iter().position(|b| *b == b':').unwrap_or(0);
                    let value = name.end + colon + 1;
                    fields.push(Field {
                        name,
                        value: value.min(read_end)..next.min(read_end).max(value.min(read_end)),
                    });
                }
            } else if fields.is_empty() || self.starts_body(at, next) {
                // No field and none after it: the empty line before the body was forgotten.
                return (fields, at, None);
            } else {
                continues = false;
            }
            at = next;
        }
        (fields, self.data.len(), None)
    }

    /// Whether a line among the fields that is none of them is of the body already; `next` is the line after it.
    fn starts_body(&self, at: usize, next: usize) -> bool {
        let blank = self.data[next..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let after = next + blank;
        // With nothing behind the empty line, this is all the text there is.
        let ends = after >= self.data.len() || blank > 0 && self.boundary_at(after).is_some();
        // The delimiter of parts, before an empty line or after none.
        let is_delimiter = self.data[at..].starts_with(b"--");
        ends || is_delimiter || blank == 0 && self.field_name(next).is_none()
    }

    fn entity(&mut self, start: usize, parent: Option<usize>, in_digest: bool, depth: u16) -> Stop {
        let (fields, body, stopped) = self.fields(start);
        let id = self.nodes.len();
        let node = self.node(fields, body, parent, in_digest, depth);
        let boundary = node.media.boundary.clone();
        let is_multipart = node.main_type() == "multipart";
        let is_message =
            matches!(node.media.essence.as_str(), "message/rfc822" | "message/global" | "message/news");
        let encoded = node.transfer != Transfer::Identity;
        self.nodes.push(node);
        if let Some(parent) = parent {
            self.nodes[parent].children.push(id);
        }
        if let Some(stop) = stopped {
            return stop;
        }
        let may_descend = depth < self.limits.depth && self.nodes.len() < self.limits.parts as usize;
        let stop = match boundary {
            Some(boundary) if is_multipart && may_descend => self.multipart(id, boundary, body, depth),
            _ if is_message && may_descend && !encoded => {
                self.nodes[id].kind = Kind::Message;
                self.entity(body, Some(id), false, depth + 1)
            }
            _ => {
                if is_message && may_descend {
                    self.encoded.push(id);
                }
                self.seek(body)
            }
        };
        let end = self.content_end(body, stop);
        let node = &mut self.nodes[id];
        node.body.end = end;
        if node.transfer == Transfer::Base64 && !transfer::is_base64(&self.data[body..end]) {
            node.transfer = Transfer::Identity;
        }
        stop
    }

    fn multipart(&mut self, id: usize, boundary: Vec<u8>, body: usize, depth: u16) -> Stop {
        let level = self.boundaries.len();
        let in_digest = self.nodes[id].media.essence == "multipart/digest";
        self.boundaries.push(boundary);
        let mut stop = self.seek(body);
        loop {
            match stop {
                // A delimiter with nothing behind it is the last one of a multipart that was cut.
                Stop::Boundary { level: l, closing: false, next, .. }
                    if l == level && next < self.data.len() =>
                {
                    stop = if self.nodes.len() < self.limits.parts as usize {
                        self.entity(next, Some(id), in_digest, depth + 1)
                    } else {
                        self.seek(next)
                    };
                }
                Stop::Boundary { level: l, closing: true, next, .. } if l == level => {
                    self.boundaries.truncate(level);
                    stop = self.seek(next);
                    break;
                }
                _ => break,
            }
        }
        self.boundaries.truncate(level);
        if !self.nodes[id].children.is_empty() {
            self.nodes[id].kind = Kind::Multipart;
        }
        stop
    }

    fn node(
        &self,
        fields: Vec<Field>,
        body: usize,
        parent: Option<usize>,
        in_digest: bool,
        depth: u16,
    ) -> Node {
        let (mut media, mut disposition, mut transfer) = (None, None, None);
        for f in &fields {
            let name = &self.data[f.name.clone()];
            let value = &self.data[f.value.clone()];
            if name.len() == 12 && name.eq_ignore_ascii_case(b"content-type") {
                media.get_or_insert_with(|| field::media_type(value, None));
            } else if name.len() == 19 && name.eq_ignore_ascii_case(b"content-disposition") {
                disposition.get_or_insert_with(|| field::disposition(value, None));
            } else if name.len() == 25 && name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                transfer.get_or_insert_with(|| field::transfer(value));
            }
        }
        let media = media.unwrap_or_else(|| MediaType {
            essence: if in_digest { "message/rfc822" } else { "text/plain" }.into(),
            ..MediaType::default()
        });
        Node {
            buffer: self.buffer,
            parent,
            depth,
            fields,
            body: body..body,
            media,
            disposition,
            transfer: transfer.unwrap_or_default(),
            kind: Kind::Leaf,
            children: Vec::new(),
        }
    }
}

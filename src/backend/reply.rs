//! The way back from a backend to who asked.

use crossbeam_channel::Sender;

use crate::generation::Reply;

use super::{BackendError, Ticket, TicketReply};

/// Where a reply goes. Exactly one is sent: one that is dropped unsent says that the backend stopped.
#[derive(Debug)]
pub struct ReplyTo {
    ticket: Ticket,
    sender: Option<Sender<TicketReply>>,
}

impl ReplyTo {
    /// The address of the reply to `ticket`.
    pub fn new(ticket: Ticket, sender: Sender<TicketReply>) -> Self {
        Self {
            ticket,
            sender: Some(sender),
        }
    }

    /// The ticket, which also says how early the request comes.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Sends the reply. A receiver that has gone away is no error.
    pub fn send(mut self, reply: Result<Reply, BackendError>) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send((self.ticket, reply));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send((self.ticket, Err(BackendError::Stopped)));
        }
    }
}

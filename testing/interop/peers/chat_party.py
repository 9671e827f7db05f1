"""Somebody who chats: slixmpp, told what to do on standard input and telling what happened on standard output.

The first line is its settings, each later one a command: JSON objects. Every command is answered by one line,
`{"answer": ID, ...}` or `{"answer": ID, "failed": REASON}`; what happens by itself is `{"event": NAME, ...}`.
It judges nothing. It ends with its standard input, without a word to the server.
"""

import asyncio
import json
import logging
import sys
from xml.etree import ElementTree

import slixmpp
from slixmpp.plugins.xep_0198 import stream_management
from slixmpp.plugins.xep_0198 import stanza as management


def keep_unacknowledged(self, stanza):
    """What waits for an acknowledgement.

    slixmpp 1.8 forgets all of it when it asks to resume, so that nothing is sent again; XEP-0198 section 5 wants it
    sent again.
    """
    if isinstance(stanza, management.Enable):
        self.enabled_out = True
        self.unacked_queue.clear()
        self.seq = self.last_ack = 0
    if isinstance(stanza, management.Resume):
        self.enabled_out = True
        return stanza
    counted = isinstance(stanza, (slixmpp.Message, slixmpp.Presence, slixmpp.Iq))
    if counted and (self.enabled_out or self.xmpp.waits_to_resume):
        self.seq = (self.seq + 1) % stream_management.MAX_SEQ
        self.unacked_queue.append((self.seq, stanza))
    return stanza


stream_management.XEP_0198._handle_outgoing = keep_unacknowledged

PLUGINS = ["xep_0030", "xep_0045", "xep_0059", "xep_0198", "xep_0199", "xep_0280", "xep_0313"]
#: Seconds between two attempts to be connected again.
PAUSE = 0.3
UPLOAD = "urn:xmpp:http:upload:0"


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Party(slixmpp.ClientXMPP):
    def __init__(self, settings):
        super().__init__(settings["jid"], settings["password"], sasl_mech=settings.get("mechanism"))
        self.place = (settings["host"], settings["port"])
        self.direct_tls = settings.get("direct_tls", False)
        self.ca_certs = settings["ca"]
        self.returns = True
        self.waits_to_resume = False
        # The test says when it wants to be idle.
        self.whitespace_keepalive = settings.get("keepalive", True)
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.management = self.plugin["xep_0198"]
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("session_resumed", self.on_resumed)
        self.add_event_handler("sm_failed", self.on_management_failed)
        self.add_event_handler("disconnected", self.on_disconnected)
        self.add_event_handler("connection_failed", lambda why: say(event="connection_failed", why=str(why)))
        self.add_event_handler("failed_auth", self.on_failed_auth)
        self.add_event_handler("failed_all_auth", lambda _: say(event="failed_all_auth"))
        self.add_event_handler("stream_error", self.on_stream_error)
        self.add_event_handler("ssl_invalid_chain", lambda why: say(event="ssl_invalid_chain", why=str(why)))
        self.add_event_handler("message", self.on_message)
        self.add_event_handler("message_error", self.on_message)
        self.add_event_handler("carbon_received", lambda m: self.on_carbon("received", m["carbon_received"]))
        self.add_event_handler("carbon_sent", lambda m: self.on_carbon("sent", m["carbon_sent"]))
        self.add_event_handler("presence_available", self.on_presence)
        self.add_event_handler("presence_unavailable", self.on_presence)
        self.add_event_handler("roster_subscription_request", self.on_presence)

    def dial(self):
        self.connect(self.place, use_ssl=self.direct_tls, force_starttls=not self.direct_tls)

    # What happens by itself.

    async def on_start(self, _):
        self.waits_to_resume = False
        self.send_presence()
        try:
            await self.get_roster(timeout=20)
        except (slixmpp.exceptions.IqError, slixmpp.exceptions.IqTimeout) as error:
            say(event="failed_roster", why=str(error))
            return
        # The answer to enable comes before that to the roster.
        say(event="started", jid=self.boundjid.full, managed=self.management.sm_id is not None)

    def on_resumed(self, resumed):
        self.waits_to_resume = False
        say(event="resumed", h=resumed["h"], sent=self.management.seq, handled=self.management.handled)

    def on_management_failed(self, failed):
        self.waits_to_resume = False
        say(event="management_failed", why=str(failed))

    def on_disconnected(self, why):
        self.waits_to_resume = self.management.sm_id is not None
        say(event="disconnected", why=str(why))
        if self.returns:
            self.loop.call_later(PAUSE, self.dial)

    def on_failed_auth(self, failure):
        say(event="failed_auth", condition=failure["condition"], text=failure["text"])

    def on_stream_error(self, error):
        say(event="stream_error", condition=error["condition"], text=error["text"])

    def on_message(self, message):
        say(event="message", sender=str(message["from"]), kind=message["type"], body=message["body"], id=message["id"],
            delayed=message.xml.find("{urn:xmpp:delay}delay") is not None)

    def on_carbon(self, way, message):
        say(event="carbon", way=way, sender=str(message["from"]), to=str(message["to"]), body=message["body"])

    def on_presence(self, presence):
        say(event="presence", sender=str(presence["from"]), kind=presence["type"], status=presence["status"])

    # What it is told.

    async def do(self, command):
        what = command.pop("do")
        number = command.pop("id")
        try:
            result = await getattr(self, "do_" + what)(**command)
            say(answer=number, **(result or {}))
        except (slixmpp.exceptions.XMPPError, asyncio.TimeoutError, OSError) as error:
            say(answer=number, failed=f"{type(error).__name__} {error}")
        except Exception as error:  # A mistake in here must not look like silence.
            logging.exception("command %s", what)
            say(answer=number, failed=f"{type(error).__name__} {error}")

    async def do_befriend(self, jid):
        self.send_presence_subscription(jid, ptype="subscribe")

    async def do_roster_add(self, jid, name):
        await self.update_roster(jid, name=name, groups=["Friends"])

    async def do_roster(self):
        # Without a version: a server that finds nothing new answers one with nothing.
        answer = await self.make_iq_get(queryxmlns="jabber:iq:roster").send(timeout=20)
        entries = answer.xml.findall("{jabber:iq:roster}query/{jabber:iq:roster}item")
        return {"roster": {item.get("jid"): {"name": item.get("name"), "subscription": item.get("subscription")}
                           for item in entries}}

    async def do_presence(self, status, kind=None):
        self.send_presence(pstatus=status, ptype=kind)

    async def do_say(self, to, body, kind="chat"):
        self.send_message(mto=to, mbody=body, mtype=kind)

    async def do_say_many(self, to, words, pause):
        for body in words:
            self.send_message(mto=to, mbody=body, mtype="chat")
            await asyncio.sleep(pause)

    async def do_join(self, room, nick):
        await self.plugin["xep_0045"].join_muc_wait(room, nick, timeout=20, maxstanzas=0)

    async def do_carbons(self):
        await self.plugin["xep_0280"].enable()

    async def do_archive(self, other):
        found = []
        pages = await self.plugin["xep_0313"].retrieve(with_jid=slixmpp.JID(other), timeout=20)
        for message in pages["mam"]["results"]:
            found.append(message["mam_result"]["forwarded"]["stanza"]["body"])
        return {"bodies": found}

    async def do_slot(self, service, name, size):
        """XEP-0363 by hand: slixmpp's own plugin wants an HTTP client."""
        request = self.make_iq_get(ito=service)
        request.append(ElementTree.Element(f"{{{UPLOAD}}}request", {
            "filename": name, "size": str(size), "content-type": "text/plain"}))
        slot = (await request.send(timeout=20)).xml.find(f"{{{UPLOAD}}}slot")
        put, get = slot.find(f"{{{UPLOAD}}}put"), slot.find(f"{{{UPLOAD}}}get")
        headers = {header.get("name"): header.text for header in put.findall(f"{{{UPLOAD}}}header")}
        return {"put": put.get("url"), "get": get.get("url"), "headers": headers}

    async def do_services(self):
        answer = await self.plugin["xep_0030"].get_items(jid=self.boundjid.host, timeout=20)
        return {"services": sorted(str(item[0]) for item in answer["disco_items"]["items"])}

    async def do_ping(self):
        return {"seconds": await self.plugin["xep_0199"].ping(self.boundjid.host, timeout=20)}

    async def do_acknowledged(self):
        """Asks until the server has acknowledged everything; then says the counts of both ways."""
        for _ in range(200):
            if not self.management.unacked_queue:
                break
            if self.transport is not None:
                self.management.request_ack()
            await asyncio.sleep(0.1)
        return {"sent": self.management.seq, "acknowledged": self.management.last_ack,
                "handled": self.management.handled, "waiting": len(self.management.unacked_queue)}

    async def do_move(self, host, port):
        """From now on it connects there."""
        self.place = (host, port)

    async def do_break(self):
        """Resets its connection; it connects again by itself."""
        self.transport.abort()

    async def do_leave(self):
        """In XMPP's words, for good."""
        self.returns = False
        await self.disconnect(wait=3)

    async def do_raw(self, text):
        self.send_raw(text)


async def read_commands(party):
    reader = asyncio.StreamReader(limit=1 << 20)
    await party.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    under_way = set()
    while line := await reader.readline():
        task = asyncio.ensure_future(party.do(json.loads(line)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


def main():
    settings = json.loads(sys.stdin.readline())
    logging.basicConfig(level=settings.get("log", "WARNING"), stream=sys.stderr,
                        format="%(asctime)s %(levelname)s %(name)s %(message)s")
    party = Party(settings)
    # Held: the loop itself would let go of a task that waits.
    reading = party.loop.create_task(read_commands(party))
    party.dial()
    party.loop.run_until_complete(reading)


if __name__ == "__main__":
    main()

-- Prosody as an IM server: @WORDS@ are replaced. Accounts are files in its data folder.
run_as_root = true
pidfile = "@FOLDER@/pid"
data_path = "@FOLDER@/data"
log = { { levels = { min = "info" }, to = "console" } }
interfaces = { "@ADDRESS@" }
c2s_ports = { 5222 }
c2s_require_encryption = true
-- Many clients sign in at once, from one address.
limits = { c2s = { rate = "1mb/s" } }
ssl = { certificate = "@CHAIN@", key = "@KEY@" }
https_ssl = { certificate = "@CHAIN@", key = "@KEY@" }
http_ports = { }
https_ports = { 5281 }
http_default_host = "upload.@DOMAIN@"
-- Plain, so that PLAIN and SCRAM are both offered and accounts are made by writing files.
authentication = "internal_plain"
storage = "internal"
smacks_hibernation_time = 120
modules_enabled = {
    "roster", "saslauth", "tls", "disco", "presence", "message", "iq", "carbons", "mam", "smacks", "ping",
    "csi_simple", "pep", "offline",
}
modules_disabled = { "s2s" }

VirtualHost "@DOMAIN@"

Component "rooms.@DOMAIN@" "muc"
    muc_room_locking = false

Component "upload.@DOMAIN@" "http_file_share"
    http_external_url = "https://@ADDRESS@:5281/"

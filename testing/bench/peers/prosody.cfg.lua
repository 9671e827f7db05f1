-- The IM server behind both chains: @WORDS@ are replaced. It does as little as it can besides passing messages on.
run_as_root = true
pidfile = "@FOLDER@/pid"
data_path = "@FOLDER@/data"
log = { { levels = { min = "warn" }, to = "console" } }
interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@ }
c2s_direct_tls_ports = { @TLS_PORT@ }
-- HAProxy ends TLS, and speaks plainly to it.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
limits = { c2s = { rate = "1gb/s" } }
ssl = { certificate = "@CHAIN@", key = "@KEY@", protocol = "tlsv1_2+" }
authentication = "internal_plain"
storage = "internal"
network_backend = "epoll"
modules_enabled = { "saslauth", "tls", "message", "iq" }
modules_disabled = { "s2s", "offline" }

VirtualHost "@DOMAIN@"

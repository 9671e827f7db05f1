#!/bin/sh
# Signs in as a client does, with nothing but curl and openssl, and gets every status code of the protocol on purpose.
#
# What it needs to know comes from the environment:
#   EDGE_HOST EDGE_PORT EDGE_ADDRESS   the edge: its name, its HTTPS port, its address
#   EDGE_CA                            file with the authority of its certificates, PEM
#   EDGE_OTHER_HOST                    another name it has a certificate for, that of a second domain
#   ALONE_PORT                         an edge of the same name that no core has dialled
#   DOMAIN                             a domain that is served
#   DOMAIN_AWAY                        one whose call manager is away; the user is the same
#   EDGE_USER EDGE_PASSWORD            a user, and one more
#   OTHER_USER OTHER_PASSWORD
#   BUSY_USER BUSY_PASSWORD            a user who will be refused for a while afterwards
#   DEVICE                             a device of the first user
#   CUCM CUCM_DOWN                     the call manager, and one of the cluster that is switched off
#   ATTEMPTS                           how many authorizations one user has in a period
#
# Prints a line for each check; exits with 0 if all passed.
set -u

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

pass() { passed=$((passed + 1)); echo "PASS $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }

# check NAME WANTED GOT
check() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted $2, got $3"; fi
}

# holds NAME FILE TEXT: the file contains the text.
holds() {
    case $(cat "$2") in
    *"$3"*) pass "$1" ;;
    *) fail "$1" "no $3 in: $(head -c 300 "$2")" ;;
    esac
}

# Base64 without padding, as paths have it.
b64() { printf %s "$1" | base64 -w0 | tr -d =; }

# lane SCHEME HOST PORT: the first segment of a path through the proxy.
lane() { b64 "$DOMAIN/$1/$2/$3"; }

# get PATH [curl options]: status to $status; head to $work/head, body to $work/body.
get() {
    path=$1
    shift
    status=$(curl --silent --show-error --max-time 20 --cacert "$EDGE_CA" --path-as-is \
        --resolve "$EDGE_HOST:${port:-$EDGE_PORT}:$EDGE_ADDRESS" \
        --dump-header "$work/raw" --output "$work/body" --write-out '%{http_code}' \
        "$@" "https://$EDGE_HOST:${port:-$EDGE_PORT}$path" 2>"$work/error") || status="none: $(cat "$work/error")"
    tr -d '\r' <"$work/raw" >"$work/head" 2>/dev/null || : >"$work/head"
}

# header NAME: its value, of the last answer; names are compared in lower case.
header() {
    while IFS= read -r line; do
        name=$(printf %s "${line%%:*}" | tr '[:upper:]' '[:lower:]')
        if [ "$name" = "$1" ]; then
            value=${line#*:}
            printf %s "${value# }"
            return
        fi
    done <"$work/head"
}

config="/$(b64 "$DOMAIN")/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin"

echo "# Base64 of paths"
check "a domain in base64 as the field writes it" ZXhhbXBsZS5jb20 "$(b64 example.com)"
check "a descriptor in base64 as the field writes it" \
    ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw "$(b64 example.com/https/cucm1.example.com/8443)"

echo "# How to sign in"
get "/$(b64 "$DOMAIN")/get_edge_sso?email=$EDGE_USER@$DOMAIN" --http1.1
check "get_edge_sso needs no credentials" 200 "$status"
holds "get_edge_sso says that credentials are to be used" "$work/body" '<Status enabled="false"/>'

echo "# Signing in"
get "$config" --http1.1 --user "$EDGE_USER:wrong"
check "401 for a wrong password" 401 "$status"
check "the edge's own realm" 'Basic realm="Cisco-Edge"' "$(header www-authenticate)"
check "no cookie with a refusal" "" "$(header set-cookie)"
get "$config" --http1.1
check "401 without credentials" 401 "$status"
get "$config" --http1.1 --user "nobody:$EDGE_PASSWORD"
check "401 for a user who does not exist" 401 "$status"

get "$config" --http1.1 --user "$EDGE_USER:$EDGE_PASSWORD" --header 'Accept: text/xml' \
    --cookie 'JSESSIONIDSSO=34AFA4A6DEE1DDCE8B1D2694082A6D0A'
check "200 for the right one" 200 "$status"
case $(header content-type) in
text/xml*) pass "the edge configuration is text/xml" ;;
*) fail "the edge configuration is text/xml" "$(header content-type)" ;;
esac
cp "$work/body" "$work/config.xml"
for text in '<getEdgeConfigResponse version="1.0">' '<serviceConfig>' '<name>_cisco-uds</name>' \
    "<address>$CUCM</address>" '<sipEdgeServer><server><address>' '<sipRequest><route>&lt;sip:' \
    ';transport=tls;' ';directed;lr&gt;</route>' "<httpEdgeServer><server><address>$EDGE_HOST</address>" \
    "<tlsPort>$EDGE_PORT</tlsPort>" '<userUdsServer><server><address>'; do
    holds "the edge configuration holds $text" "$work/config.xml" "$text"
done
cookie_line=$(header set-cookie)
cookie=${cookie_line#X-Auth=}
cookie=${cookie%%;*}
for text in 'X-Auth=' '; Expires=' ' GMT; ' '; Domain=' '; Path=/' '; Secure' '; HttpOnly'; do
    case $cookie_line in
    *"$text"*) pass "the cookie holds $text" ;;
    *) fail "the cookie holds $text" "$cookie_line" ;;
    esac
done
expires=${cookie_line#*Expires=}
expires=${expires%%;*}
ends=$(date --utc --date "$expires" +%s) || ends=0
left=$((ends - $(date +%s)))
if [ "$left" -gt 28000 ] && [ "$left" -le 28800 ]; then
    pass "the cookie lasts 480 minutes"
else
    fail "the cookie lasts 480 minutes" "$left s"
fi
check "the date is written as in RFC 9110" "$expires" \
    "$(LC_ALL=C date --utc --date "@$ends" '+%a, %d %b %Y %H:%M:%S GMT')"

get "/$(b64 "$DOMAIN")/get_edge_config/" --http1.1 --user "$EDGE_USER:$EDGE_PASSWORD"
check "the spelling of room systems" 200 "$status"
get "$config" --http2 --user "$EDGE_USER:$EDGE_PASSWORD"
check "the same by HTTP/2" 200 "$status"

echo "# Through the proxy"
# fetch PATH [curl options]: with the cookie, and the user's credentials for the server inside.
fetch() { get "$@" --cookie "X-Auth=$cookie" --user "$EDGE_USER:$EDGE_PASSWORD"; }
fetch "/$(lane https "$CUCM" 8443)/cucm-uds/version"
check "the version of UDS" 200 "$status"
fetch "/$(lane https "$CUCM" 8443)/cucm-uds/user/$EDGE_USER/devices"
check "the user's devices" 200 "$status"
holds "the device is among them" "$work/body" "<name>$DEVICE</name>"
fetch "/$(lane http "$CUCM" 6970)/jabber-config.xml"
check "jabber-config.xml" 200 "$status"
holds "jabber-config.xml is whole" "$work/body" "</config>"
fetch "/$(lane https "$CUCM" 6972)/$DEVICE.cnf.xml"
check "the phone's file" 200 "$status"
holds "the phone's file names the call manager" "$work/body" "<processNodeName>$CUCM</processNodeName>"
fetch "/$(lane http "$CUCM" 6970)/no-such-file.xml"
check "404 is relayed" 404 "$status"
fetch "/$(lane http "$CUCM" 6970)/SEP000000000000.cnf.xml"
check "another user's phone is nobody's business" 403 "$status"
fetch "/$(lane http "$CUCM" 6970)/ConfigFileCacheList.txt"
check "nor is the list of all phones" 403 "$status"
get "/$(lane https "$CUCM" 8443)/cucm-uds/user/$EDGE_USER/devices" --cookie "X-Auth=$cookie" \
    --user "$EDGE_USER:wrong"
check "401 of the call manager is relayed" 401 "$status"
check "with the call manager's realm" 'Basic realm="Cisco Web Services Realm"' "$(header www-authenticate)"
fetch "/$(lane http "$CUCM_DOWN" 6970)/jabber-config.xml" --http1.1
check "502 where the next hop is not there" 502 "$status"
check "in the words clients look for" "HTTP/1.1 502 Next Hop Connection Failed" "$(head -n 1 "$work/head")"

echo "# What is not allowed"
get "/$(b64 not.served.example)/get_edge_config" --http1.1 --user "$EDGE_USER:$EDGE_PASSWORD"
check "403 for a domain that is not served" 403 "$status"
fetch "/$(lane https elsewhere.example 8443)/" --http1.1
check "403 for a host the allow list does not have" 403 "$status"
check "the connection is closed after it" close "$(header connection)"
fetch "/$(lane https "$CUCM" 22)/"
check "403 for a port the allow list does not have" 403 "$status"
fetch "/$(lane https "$CUCM" 8443)/cucm-uds/user/$OTHER_USER/devices"
check "403 for another user's devices" 403 "$status"
fetch "/$(lane https "$CUCM" 8443)/cucm-uds/../axl/"
case $status in
400 | 403) pass "no way out of a path by dots" ;;
*) fail "no way out of a path by dots" "$status" ;;
esac
get "/$(lane https "$CUCM" 8443)/cucm-uds/user/$EDGE_USER/devices" --cookie "X-Auth=${cookie}x"
check "401 for a cookie that was changed" 401 "$status"
get "/$(lane https "$CUCM" 8443)/cucm-uds/user/$EDGE_USER/devices"
check "401 without cookie and credentials" 401 "$status"

echo "# Too often, and away"
attempt=1
while [ "$attempt" -le "$ATTEMPTS" ]; do
    get "$config" --user "$BUSY_USER:$BUSY_PASSWORD"
    check "authorization $attempt of $ATTEMPTS" 200 "$status"
    attempt=$((attempt + 1))
done
get "$config" --user "$BUSY_USER:$BUSY_PASSWORD"
check "429 for the next" 429 "$status"
retry=$(header retry-after)
if [ "${retry:-0}" -ge 1 ] 2>/dev/null && [ "$retry" -le 300 ]; then
    pass "with the time to come back"
else
    fail "with the time to come back" "Retry-After: $retry"
fi
check "no cookie with it" "" "$(header set-cookie)"
get "$config" --user "$OTHER_USER:$OTHER_PASSWORD"
check "another user is not concerned" 200 "$status"
get "/$(b64 "$DOMAIN_AWAY")/get_edge_config" --user "$EDGE_USER:$EDGE_PASSWORD"
check "503 where the call manager cannot be asked" 503 "$status"
case $(header retry-after) in
'' | *[!0-9]*) fail "with the time to come back" "Retry-After: $(header retry-after)" ;;
*) pass "with the time to come back" ;;
esac
port=$ALONE_PORT
get "$config" --user "$EDGE_USER:$EDGE_PASSWORD"
check "503 where no core is there" 503 "$status"
case $(header retry-after) in
'' | *[!0-9]*) fail "with the time to come back" "Retry-After: $(header retry-after)" ;;
*) pass "with the time to come back" ;;
esac
port=$EDGE_PORT

echo "# TLS"
# tls [openssl options]: what s_client says to $work/tls.
tls() { openssl s_client -connect "$EDGE_ADDRESS:$EDGE_PORT" -CAfile "$EDGE_CA" "$@" </dev/null >"$work/tls" 2>&1; }
tls -servername "$EDGE_HOST" -verify_hostname "$EDGE_HOST" -verify_return_error
holds "the certificate of the SRV record's target" "$work/tls" "Verify return code: 0 (ok)"
tls -servername "$EDGE_OTHER_HOST" -verify_hostname "$EDGE_OTHER_HOST" -verify_return_error
holds "the first label of the target before a second domain" "$work/tls" "Verify return code: 0 (ok)"
tls -servername nobody.example -verify_hostname "$EDGE_HOST" -verify_return_error
holds "a name nobody knows gets the first certificate" "$work/tls" "Verify return code: 0 (ok)"
tls -noservername -verify_hostname "$EDGE_HOST" -verify_return_error
holds "no name gets the first certificate" "$work/tls" "Verify return code: 0 (ok)"
tls -servername "$EDGE_HOST" -tls1_2
holds "TLS 1.2 is spoken" "$work/tls" "TLSv1.2"
for old in -tls1 -tls1_1; do
    tls -servername "$EDGE_HOST" "$old" -cipher DEFAULT@SECLEVEL=0
    holds "$old is refused by the edge" "$work/tls" "SSL alert number"
done
for weak in NULL aNULL AES128-SHA ECDHE-ECDSA-AES128-SHA ECDHE-ECDSA-AES256-SHA384; do
    tls -servername "$EDGE_HOST" -tls1_2 -cipher "$weak:@SECLEVEL=0"
    holds "$weak is refused by the edge" "$work/tls" "alert handshake failure"
done
tls -servername "$EDGE_HOST" -alpn h2,http/1.1
holds "HTTP/2 is offered" "$work/tls" "ALPN protocol: h2"
{ printf 'R\n'; sleep 1; } | openssl s_client -connect "$EDGE_ADDRESS:$EDGE_PORT" -CAfile "$EDGE_CA" \
    -servername "$EDGE_HOST" -tls1_2 >"$work/tls" 2>&1
holds "a client that wants to renegotiate is refused" "$work/tls" "no renegotiation"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

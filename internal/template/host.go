package template

import (
	"net"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"
)

// The gjson modifier @host makes a host name of a URL: with it a credential can name
// the upstream where a token response has only a URL, as in "instance_url|@host".
func init() { gjson.AddModifier("host", hostOf) }

// hostOf returns, as a JSON string, the host of a URL in a JSON string, without
// port and user; "", which is no value, for anything else.
func hostOf(value, _ string) string {
	text := gjson.Parse(value)
	if text.Type != gjson.String {
		return ""
	}
	u, err := url.Parse(text.Str)
	if err != nil || u.Scheme == "" || !isHost(u.Hostname()) {
		return ""
	}
	return string(gjson.AppendJSONString(nil, u.Hostname()))
}

// isHost reports whether host can be dialled as it is: an IP address, or a name in
// ASCII.
func isHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	odd := strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
	return host != "" && !odd
}

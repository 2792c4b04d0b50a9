package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/pflag"

	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// adminClient asks a running Caddy's administration API.
type adminClient struct{ address string }

// newAdminClient finds the endpoint as Caddy's own commands do.
func newAdminClient(flags *pflag.FlagSet) (*adminClient, error) {
	var values [3]string
	for i, name := range []string{"address", "config", "adapter"} {
		values[i], _ = flags.GetString(name)
	}
	address, err := caddycmd.DetermineAdminAPIAddress(values[0], nil, values[1], values[2])
	if err != nil {
		return nil, inputInvalid("cannot tell where the administration endpoint is: " + err.Error())
	}
	return &adminClient{address}, nil
}

// maxAnswer bounds an answer in bytes: a page of tenants with all that they expose.
const maxAnswer = 256 << 20

// do makes one request. A body is sent as JSON. The error is a [commandError].
func (c *adminClient) do(method, path string, body string) (json.RawMessage, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	res, err := caddycmd.AdminAPIRequest(c.address, method, path, nil, reader)
	if err != nil {
		return nil, c.explain(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable()
	}
	if !json.Valid(answer) {
		return nil, c.notOurAPI("something that is no JSON")
	}
	return answer, nil
}

func (c *adminClient) get(path string) (json.RawMessage, error) {
	return c.do(http.MethodGet, path, "")
}

// post asks for something to be done.
func (c *adminClient) post(path string) (json.RawMessage, error) {
	return c.do(http.MethodPost, path, "{}")
}

// explain makes sense of an error of [caddycmd.AdminAPIRequest], which has no more
// than a text: that of Caddy's answer, if there was one.
func (c *adminClient) explain(err error) *commandError {
	text, answered := strings.CutPrefix(err.Error(), "caddy responded with error: ")
	switch {
	case !answered && strings.HasPrefix(err.Error(), "performing request: "):
		return c.unreachable()
	case !answered:
		return inputInvalid(err.Error())
	}
	status, body, _ := strings.Cut(text, ": ")
	var answer struct{ Error string }
	if json.Unmarshal([]byte(body), &answer) != nil || answer.Error == "" {
		return c.notOurAPI(status)
	}
	code, message, found := strings.Cut(answer.Error, ": ")
	if !found || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return &commandError{Code: "caddy_refused", Message: "Caddy answered: " + answer.Error} // its own, not ours
	}
	return &commandError{Code: code, Message: message, Hint: hints[code]}
}

// hints are what to do, by the code of an error.
var hints = map[string]string{
	errNotConfigured.Code:    "Have the Caddyfile's global options hold upstream_auth, and load it: caddy reload.",
	rest.ErrStoreSilent.Code: "caddy upstream-auth doctor says why.",
}

// notOurAPI is for answers that are not this API's.
func (c *adminClient) notOurAPI(answer string) *commandError {
	return &commandError{
		Code: "caddy_refused", Message: fmt.Sprintf("what answers at %s, with %s, is not a Caddy with upstream_auth's administration API", c.address, answer),
		Hint: "Have the Caddy that runs be built with this version of upstream_auth: 'caddy list-modules' shows admin.api.upstream_auth.",
	}
}

func (c *adminClient) unreachable() *commandError {
	return &commandError{
		Code: "caddy_unreachable", Message: "Caddy does not answer at " + c.address,
		Hint: "If it does not run, start it: caddy run. If its administration endpoint is elsewhere, say where with --address or --config. " +
			"If that is off ('admin off'), these commands cannot work.",
	}
}

// escape is for a part of a path.
func escape(part string) string { return url.PathEscape(part) }

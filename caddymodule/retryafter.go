package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// defaultLongest is how long an upstream is heeded if nothing is said.
const defaultLongest = caddy.Duration(time.Minute)

// RetryAfter heeds an API that answers that too much is asked of it
// ([RFC 6585](https://www.rfc-editor.org/rfc/rfc6585#section-4)): until the time that it
// names, the tenant's requests are answered with 429, `Retry-After` and the code `rate_limited`,
// or wait, and the API is left alone. Other tenants' are sent as ever. Each process knows
// what it was told itself.
type RetryAfter struct {
	// The header fields that say how long to wait, besides `Retry-After`, which is looked at
	// last: in seconds, as a date, in seconds or milliseconds since 1970, or as a duration such as 1m30s.
	Headers []string `json:"headers,omitempty"`

	// The status codes of such answers; a 5 stands for all from 500 on. Default: 429.
	Status []int `json:"status,omitempty"`

	// A header field that says how much may still be asked. An answer of another status
	// than 429 counts only if that is 0.
	Remaining string `json:"remaining,omitempty"`

	// How long the API is heeded at most, whatever it says. Default: 1m.
	Longest caddy.Duration `json:"longest,omitempty"`

	// How long a request may wait: one that comes too soon before it is sent, or one that is
	// answered with 429 before it is sent once more. Default: 0, they do not wait.
	Wait caddy.Duration `json:"wait,omitempty"`
}

// retryAfter checks the settings.
func (conf *RetryAfter) retryAfter() (*upstream.RetryAfter, error) {
	r := &upstream.RetryAfter{Statuses: conf.Status, Longest: time.Duration(conf.Longest), Wait: time.Duration(conf.Wait)}
	if len(r.Statuses) == 0 {
		r.Statuses = []int{http.StatusTooManyRequests}
	}
	for _, status := range r.Statuses {
		if isClass := status == 4 || status == 5; !isClass && (status < 400 || status > 599) {
			return nil, fmt.Errorf("status: %d is not the status code of a refusal", status)
		}
	}
	if conf.Longest < 0 || conf.Wait < 0 {
		return nil, errors.New("longest and wait cannot be below zero")
	}
	if r.Longest == 0 {
		r.Longest = time.Duration(defaultLongest)
	}
	if r.Wait > r.Longest {
		return nil, fmt.Errorf("wait is longer than longest, %s", r.Longest)
	}
	for _, name := range append(conf.Headers, "Retry-After") {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("'%s' is not the name of a header field", name)
		}
		r.Headers = append(r.Headers, http.CanonicalHeaderKey(name))
	}
	if conf.Remaining != "" && !httpguts.ValidHeaderFieldName(conf.Remaining) {
		return nil, fmt.Errorf("remaining: '%s' is not the name of a header field", conf.Remaining)
	}
	r.Remaining = conf.Remaining
	return r, nil
}

// unmarshalRetryAfter reads: retry_after [<header fields...>] { … }
func unmarshalRetryAfter(d *caddyfile.Dispenser, target **RetryAfter) error {
	if *target != nil {
		return d.Err("retry_after is given twice")
	}
	conf := &RetryAfter{Headers: d.RemainingArgs()}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch setting := d.Val(); setting {
		case "status":
			err = conf.unmarshalStatus(d)
		case "remaining":
			err = config.OneArg(d, &conf.Remaining)
		case "longest":
			err = config.DurationArg(d, &conf.Longest)
		case "wait":
			err = config.DurationArg(d, &conf.Wait)
		default:
			err = d.Errf("unrecognized subdirective '%s' of retry_after", setting)
		}
		if err == nil {
			_, wrong := conf.retryAfter()
			err = config.WrapErr(d, "retry_after", wrong)
		}
		if err != nil {
			return err
		}
	}
	*target = conf
	_, err := conf.retryAfter()
	return config.WrapErr(d, "retry_after", err)
}

func (conf *RetryAfter) unmarshalStatus(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, arg := range args {
		status, err := parseStatus(arg)
		if err != nil {
			return d.Errf("retry_after: status: %w", err)
		}
		conf.Status = append(conf.Status, status)
	}
	return nil
}

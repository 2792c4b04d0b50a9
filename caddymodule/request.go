package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Request is a request to the upstream API that is made with a tenant's credential,
// apart from those of the app.
type Request struct {
	// Default: GET for a test, DELETE for a revocation.
	Method string `json:"method,omitempty"`

	// The URL, with fields of the credential as `{credential.<path>}`. The scheme is
	// https, unless the host is a loopback address. The host has to be one of
	// allowed_hosts, which is required if the credential names the host.
	URL string `json:"url"`

	// The status codes that mean success. Default: 200 to 299.
	Status []int `json:"status,omitempty"`

	// How long it may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// requestMethods are what a [Request] may do.
var requestMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// request checks the settings.
func (conf *Request) request(defaultMethod string, allowedHosts []string, lookup func(string) (string, error)) (*upstream.Request, error) {
	if conf.URL == "" {
		return nil, errors.New("the URL is missing")
	}
	r := &upstream.Request{Method: conf.Method, Statuses: conf.Status, Timeout: time.Duration(conf.Timeout)}
	if r.Method == "" {
		r.Method = defaultMethod
	}
	if !slices.Contains(requestMethods, r.Method) {
		return nil, fmt.Errorf("'%s' is not a method", r.Method)
	}
	if conf.Timeout < 0 {
		return nil, errors.New("timeout cannot be negative")
	}
	for _, status := range conf.Status {
		if status < 200 || status > 599 {
			return nil, fmt.Errorf("%d is not the status code of a final response", status)
		}
	}
	var err error
	if r.URL, err = template.Parse(conf.URL, lookup); err != nil {
		return nil, err
	}
	hostByCredential, err := r.URL.CheckURL()
	if err != nil {
		return nil, err
	}
	if hostByCredential && len(allowedHosts) == 0 {
		return nil, errors.New("a host named by the credential needs allowed_hosts")
	}
	return r, nil
}

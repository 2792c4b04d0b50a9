package caddymodule

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// fullTransport does all that the reverse proxy can ask of a transport.
type fullTransport struct {
	tls, h2c bool
	ops      *headers.HeaderOps
}

func (*fullTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("not a transport")
}
func (f *fullTransport) TLSEnabled() bool                             { return f.tls }
func (f *fullTransport) EnableTLS(*reverseproxy.TLSConfig) error      { f.tls = true; return nil }
func (f *fullTransport) EnableH2C() error                             { f.h2c = true; return nil }
func (*fullTransport) OverrideHealthCheckScheme(u *url.URL, p string) { u.Scheme = "over" + p }
func (*fullTransport) ProxyProtocolEnabled() bool                     { return true }
func (*fullTransport) RequiresContentLength() bool                    { return true }
func (*fullTransport) DefaultBufferSizes() (int64, int64)             { return 1, 2 }
func (f *fullTransport) RequestHeaderOps() *headers.HeaderOps         { return f.ops }

func TestTransportForwardsWhatTheReverseProxyAsks(t *testing.T) {
	inner := &fullTransport{ops: new(headers.HeaderOps)}
	outer := &Transport{base: inner}
	if err := outer.EnableTLS(nil); err != nil || !inner.tls || !outer.TLSEnabled() {
		t.Error("TLS is not forwarded")
	}
	if err := outer.EnableH2C(); err != nil || !inner.h2c {
		t.Error("h2c is not forwarded")
	}
	u := new(url.URL)
	if outer.OverrideHealthCheckScheme(u, "1"); u.Scheme != "over1" {
		t.Error("the scheme of health checks is not forwarded")
	}
	if !outer.ProxyProtocolEnabled() {
		t.Error("the PROXY protocol is not forwarded")
	}
	if !outer.RequiresContentLength() {
		t.Error("the need of a length is not forwarded")
	}
	if request, response := outer.DefaultBufferSizes(); request != 1 || response != 2 {
		t.Error("buffer sizes are not forwarded")
	}
	if outer.RequestHeaderOps() != inner.ops {
		t.Error("header operations are not forwarded")
	}
}

// plainTransport does round trips and nothing else.
type plainTransport struct{ http.RoundTripper }

func TestTransportAroundAPlainOne(t *testing.T) {
	outer := &Transport{base: plainTransport{}}
	u := &url.URL{Scheme: "http"}
	outer.OverrideHealthCheckScheme(u, "443")
	request, response := outer.DefaultBufferSizes()
	if outer.TLSEnabled() || outer.ProxyProtocolEnabled() || outer.RequiresContentLength() ||
		outer.RequestHeaderOps() != nil || request != 0 || response != 0 || u.Scheme != "http" {
		t.Error("a plain transport is given abilities")
	}
	if outer.EnableTLS(nil) == nil || outer.EnableH2C() == nil {
		t.Error("a plain transport is given TLS or h2c")
	}
}

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// hostNotAllowed makes up the answer to a request that would have carried a
// credential to a host that may not see it.
func hostNotAllowed(req *http.Request) *http.Response {
	return madeUp(req, http.StatusBadGateway, CodeHostNotAllowed)
}

// notAuthenticated makes up the answer to a request that a scheme could not
// authenticate. An error of the client's body is what a transport would have returned.
func (x *Exchange) notAuthenticated(req *http.Request, err error) (*http.Response, error) {
	switch {
	case errors.Is(err, scheme.ErrBodyTooLarge):
		return madeUp(req, http.StatusRequestEntityTooLarge, CodeBodyTooLarge), nil
	case x.bodyErr != nil:
		return nil, x.bodyErr
	}
	if x.Logger != nil {
		x.Logger.Warn("a request could not be authenticated", "provider", x.Provider.Name)
	}
	return madeUp(req, http.StatusBadGateway, CodeCredentialInvalid), nil
}

// madeUp is an answer and not an error, since a reverse proxy counts errors against the
// health of its upstream.
func madeUp(req *http.Request, status int, code Code) *http.Response {
	contentType, body := Message(req, status, code)
	res := &http.Response{
		StatusCode: status,
		Status:     fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header: http.Header{
			HeaderError: {string(code)}, "Content-Type": {contentType}, "Content-Length": {strconv.Itoa(len(body))},
			"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		},
		Body:          http.NoBody,
		ContentLength: int64(len(body)),
		Request:       req,
	}
	if req.Method != http.MethodHead {
		res.Body = io.NopCloser(bytes.NewReader(body))
	}
	return res
}

// speaksForUs reports whether an answer, after [removeOurs], was made up, or has been given
// up: there is nothing to learn from it, or to be done about it.
func speaksForUs(header http.Header) bool {
	return len(header[HeaderError]) > 0 || len(header[HeaderReplay]) > 0
}

// removeOurs takes out of what an upstream sent the headers in which only the proxy
// speaks, in every spelling.
func removeOurs(header http.Header) {
	for name := range header {
		if isOurs(name) {
			delete(header, name)
		}
	}
}

func isOurs(name string) bool {
	if len(name) != len(HeaderError) && len(name) != len(HeaderReplay) {
		return false // As good as always.
	}
	name = strings.ReplaceAll(name, "_", "-")
	return strings.EqualFold(name, HeaderError) || strings.EqualFold(name, HeaderReplay)
}

// guardTrailers keeps an answer's trailers, which come with its end and need not have been
// announced, free of what is kept from its header.
func (x *Exchange) guardTrailers(res *http.Response, secrets []string) {
	if res.StatusCode == http.StatusSwitchingProtocols || res.Body == http.NoBody || len(res.Trailer) == 0 && res.ContentLength >= 0 {
		return
	}
	secrets = slices.Clone(secrets) // the body of a given up answer may be read beside the next attempt
	guard := func() {
		removeOurs(res.Trailer)
		if !x.cookiesPass() {
			delete(res.Trailer, "Set-Cookie")
		}
		x.scrubHeader(res.Trailer, secrets)
	}
	guard()
	res.Body = &guardedBody{ReadCloser: res.Body, atEnd: guard}
}

// guardedBody is the body of an answer whose trailers, which the transport sets in the
// Read that ends it, are not all to be passed on.
type guardedBody struct {
	io.ReadCloser
	atEnd func()
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.atEnd()
	}
	return n, err
}

package connect

import (
	"fmt"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// answer is what a token endpoint sent.
type answer struct {
	status      int
	contentType string
	body        []byte
}

// object returns a successful answer as a JSON object; nil stands for none.
// Errors: [ErrServerUnavailable], [ErrServerRefused]. They hold nothing that came
// from there but the status and a known error code.
func (a *answer) object() ([]byte, error) {
	if a == nil {
		return nil, fmt.Errorf("%w: the token endpoint does not answer", ErrServerUnavailable)
	}
	object := a.read()
	code := scheme.ResponseError(object)
	switch {
	case a.status == http.StatusTooManyRequests, a.status >= 500:
		return nil, fmt.Errorf("%w: the token endpoint answered %d", ErrServerUnavailable, a.status)
	case code != "":
		return nil, fmt.Errorf("%w: the token endpoint answered %d, %s", ErrServerRefused, a.status, code)
	case a.status < 200 || a.status > 299:
		return nil, fmt.Errorf("%w: the token endpoint answered %d", ErrServerRefused, a.status)
	case object == nil:
		return nil, fmt.Errorf("%w: the token endpoint answered %d without a token response", ErrServerUnavailable, a.status)
	}
	return object, nil
}

// read returns the answer as a JSON object, nil if it is none that is all there.
func (a *answer) read() []byte {
	read, whole := scheme.ResponseObject(a.contentType, a.body, false)
	if !whole {
		return nil
	}
	return object(read)
}

// object returns data if it is one JSON object within the limits of a credential,
// which it becomes a part of, else nil.
func object(data []byte) []byte {
	c, err := credential.New(credential.Document{Data: data})
	if err != nil {
		return nil
	}
	return c.JSON()
}

package tokenrequest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Format is how the parameters of a request travel.
type Format string

const (
	// FormatForm is application/x-www-form-urlencoded (RFC 6749 appendix B).
	FormatForm Format = "form"
	// FormatJSON is an object of strings, which some servers want instead.
	FormatJSON Format = "json"
	// FormatQuery is the query of the URL, as others want it. It ends in their logs.
	FormatQuery Format = "query"
)

// apply brings the form of a request into f.
func (f Format) apply(req *http.Request) error {
	switch f {
	case "", FormatForm:
		return nil
	case FormatJSON, FormatQuery:
	default:
		return fmt.Errorf("%q is no format of a request", f)
	}
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return err
	}
	if f == FormatQuery {
		query := req.URL.Query()
		for name, values := range form {
			query[name] = values
		}
		req.URL.RawQuery = query.Encode()
		req.Header.Del("Content-Type")
		setBody(req, nil)
		return nil
	}
	object := make(map[string]any, len(form))
	for name, values := range form {
		if object[name] = values[0]; len(values) > 1 {
			object[name] = values
		}
	}
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	setBody(req, body)
	return nil
}

func setBody(req *http.Request, body []byte) {
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	if req.Body, _ = req.GetBody(); len(body) == 0 {
		req.Body = http.NoBody
	}
}

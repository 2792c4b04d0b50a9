package tokenrequest

import (
	"encoding"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"
)

const (
	// maxContentType bounds what is kept of an answer's media type in bytes.
	maxContentType = 200

	// maxField bounds the values of another header field that is kept: no token is longer.
	maxField = 16 << 10
)

// recorded is how an answer is written down: raw, with what it takes to read it.
type recorded struct {
	Status      int         `json:"status"`
	ContentType string      `json:"content_type"`
	Header      http.Header `json:"header,omitempty"` // the other fields: there may be a token in one
	Truncated   bool        `json:"cut,omitempty"`
	At          time.Time   `json:"at,omitzero"`
	Body        []byte      `json:"body"`
}

// MarshalBinary writes the answer down for a journal: the status, the header, the body and
// the time. It does not fail.
func (r *Response) MarshalBinary() ([]byte, error) {
	contentType := r.Header.Get("Content-Type")
	at := r.At.UTC()
	if at.Year() < 1 || at.Year() > 9999 { // JSON knows no other
		at = time.Time{}
	}
	header := r.Header.Clone()
	maps.DeleteFunc(header, func(name string, values []string) bool {
		length := 0
		for _, value := range values {
			length += len(value)
		}
		return name == "Content-Type" || length > maxField
	})
	return json.Marshal(recorded{r.Status, contentType[:min(len(contentType), maxContentType)], header, r.Truncated, at, r.Body})
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (r *Response) UnmarshalBinary(data []byte) error {
	var from recorded
	if err := json.Unmarshal(data, &from); err != nil {
		return errors.New("not a recorded token response")
	}
	*r = Response{Status: from.Status, Header: from.Header, Body: from.Body, Truncated: from.Truncated, At: from.At}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if len(r.Body) > maxBody {
		r.Body, r.Truncated = r.Body[:maxBody], true
	}
	if from.ContentType != "" {
		r.Header.Set("Content-Type", from.ContentType)
	}
	return nil
}

var (
	_ encoding.BinaryMarshaler   = (*Response)(nil)
	_ encoding.BinaryUnmarshaler = (*Response)(nil)
)

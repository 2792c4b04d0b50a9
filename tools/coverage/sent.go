package main

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// sent is what a request for a token has in it.
type sent struct {
	format string // form, json or query; "": no parameters
	params url.Values
}

// readRequest reads the parameters, which are nowhere but where the format says.
func readRequest(req *http.Request) (*sent, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	if len(body) == 0 {
		s := &sent{params: req.URL.Query()}
		if len(s.params) > 0 {
			s.format = "query"
		}
		return s, nil
	}
	switch mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); mediaType {
	case contentTypes["form"]:
		params, err := url.ParseQuery(string(body))
		return &sent{"form", params}, err
	case contentTypes["json"]:
		var object map[string]any
		if err := json.Unmarshal(body, &object); err != nil {
			return nil, err
		}
		s := &sent{"json", url.Values{}}
		for name, value := range object {
			if text, ok := scalar(value); ok {
				s.params.Set(name, text)
			}
		}
		return s, nil
	}
	return nil, errors.New("a body of another kind")
}

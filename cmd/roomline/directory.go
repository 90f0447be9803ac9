package main

import (
	"context"
	"net/url"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// directory is the directory of people, for third-party lookups. It is asked when the client API is there.
func (a *app) directory() appservices.Directory {
	users := func(found []clientapi.DirectoryUser, err error) ([]appservices.DirectoryUser, error) {
		list := make([]appservices.DirectoryUser, len(found))
		for i, u := range found {
			list[i] = appservices.DirectoryUser(u)
		}
		return list, err
	}
	return appservices.Directory{
		ByFields: func(ctx context.Context, who *httpapi.Requester, fields url.Values) ([]appservices.DirectoryUser, error) {
			return users(a.client.FindPeople(ctx, who, fields))
		},
		ByID: func(ctx context.Context, who *httpapi.Requester, user matrix.UserID) ([]appservices.DirectoryUser, error) {
			return users(a.client.FindPerson(ctx, who, user))
		},
	}
}

package mediaapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi/thumbnail"
)

// getThumbnail sends a smaller picture of a picture. It is made once for each size, and kept.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
func (s *Server) getThumbnail(ctx context.Context, c *httpapi.Call) (any, error) {
	req, err := thumbnailRequest(c)
	if err != nil {
		return nil, err
	}
	m, err := s.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.sendThumbnail(ctx, c, &m, req)
}

// getThumbnailLegacy is getThumbnail for what was uploaded before media needed an access token.
//
// Spec: client-server v1.19 §content-repository, GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}
func (s *Server) getThumbnailLegacy(ctx context.Context, c *httpapi.Call) (any, error) {
	req, err := thumbnailRequest(c)
	if err != nil {
		return nil, err
	}
	m, err := s.frozen(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.sendThumbnail(ctx, c, &m, req)
}

// largestSide is more than anybody asks for.
const largestSide = 1 << 16

func thumbnailRequest(c *httpapi.Call) (thumbnail.Request, error) {
	var sides [2]int
	for i, name := range []string{"width", "height"} {
		if c.Query(name) == "" {
			return thumbnail.Request{}, matrix.MissingParam("%s is missing", name)
		}
		n, err := c.QueryInt(name, 0, 0, largestSide)
		if err != nil {
			return thumbnail.Request{}, err
		}
		if n == 0 {
			return thumbnail.Request{}, matrix.InvalidParam("%s must be positive", name)
		}
		sides[i] = n
	}
	method := c.Query("method")
	if method != "" && method != "crop" && method != "scale" {
		return thumbnail.Request{}, matrix.InvalidParam("method must be crop or scale")
	}
	return thumbnail.Request{Size: thumbnail.Choose(sides[0], sides[1], method == "crop"), Animated: c.QueryBool("animated")}, nil
}

func (s *Server) sendThumbnail(ctx context.Context, c *httpapi.Call, m *store.Media, req thumbnail.Request) error {
	t, err := s.thumbnailOf(ctx, m, req)
	if err != nil {
		return thumbnailError(err)
	}
	return s.sendObject(ctx, c, thumbnailContent(&t))
}

func thumbnailContent(t *store.Thumbnail) content {
	return content{
		key: t.ObjectKey, size: t.Size, sha256: t.SHA256, crc32c: t.CRC32C, contentType: t.ContentType,
		disposition: dispositionOf(t.ContentType, "thumbnail."+path.Base(t.ContentType)),
	}
}

// thumbnailOf is a thumbnail, made now if it was not made before. Where an animation is too large a still picture has to do.
func (s *Server) thumbnailOf(ctx context.Context, m *store.Media, req thumbnail.Request) (store.Thumbnail, error) {
	t, err := s.cfg.Store.GetThumbnail(ctx, m.ObjectKey, req.Width, req.Height, req.Crop, req.Animated)
	if errors.Is(err, store.ErrNotFound) {
		t, err = s.makeThumbnail(ctx, m, req)
	}
	if req.Animated && errors.Is(err, thumbnail.ErrTooLarge) {
		req.Animated = false
		return s.thumbnailOf(ctx, m, req)
	}
	return t, err
}

// thumbnailError says why there is no thumbnail.
func thumbnailError(err error) error {
	switch {
	case errors.Is(err, thumbnail.ErrTooLarge):
		return matrix.TooLarge("the picture is too large to make a thumbnail of")
	case errors.Is(err, thumbnail.ErrUnsupported), errors.Is(err, thumbnail.ErrBroken):
		return matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "no thumbnail can be made of this")
	}
	return storeError(err)
}

// makeThumbnail makes a thumbnail and keeps it. Requests of this process for the same one wait for the first.
func (s *Server) makeThumbnail(ctx context.Context, m *store.Media, req thumbnail.Request) (store.Thumbnail, error) {
	// Who looked before the first was done may come here after it: a thumbnail is looked for once more before it is made.
	name := strings.Join([]string{
		m.ObjectKey, strconv.Itoa(req.Width), strconv.Itoa(req.Height), strconv.FormatBool(req.Crop), strconv.FormatBool(req.Animated),
	}, " ")
	made, err, _ := s.thumbnails.Do(name, func() (any, error) {
		// Others may wait for it when the one who asked first has gone.
		ctx := context.WithoutCancel(ctx)
		t, err := s.cfg.Store.GetThumbnail(ctx, m.ObjectKey, req.Width, req.Height, req.Crop, req.Animated)
		if errors.Is(err, store.ErrNotFound) {
			t, err = s.makeOnce(ctx, m, req)
		}
		return t, err
	})
	t, _ := made.(store.Thumbnail)
	return t, err
}

func (s *Server) makeOnce(ctx context.Context, m *store.Media, req thumbnail.Request) (store.Thumbnail, error) {
	original, err := s.cfg.Blobs.Get(ctx, m.ObjectKey, 0, -1)
	if err != nil {
		return store.Thumbnail{}, err
	}
	defer original.Close()
	picture, err := thumbnail.Make(ctx, original, m.Size, req)
	if err != nil {
		return store.Thumbnail{}, err
	}
	hash, crc := sha256.Sum256(picture.Data), crc32.Checksum(picture.Data, castagnoli)
	t := store.Thumbnail{
		ObjectKey: newKey(m.OrganisationID), OrganisationID: m.OrganisationID, Of: m.ObjectKey,
		Width: req.Width, Height: req.Height, Crop: req.Crop, Animated: req.Animated,
		ContentType: picture.ContentType, Size: int64(len(picture.Data)), SHA256: hash[:], CRC32C: &crc,
	}
	if err := s.cfg.Store.BeginThumbnail(ctx, t.ObjectKey, t.OrganisationID, s.now()); err != nil {
		return store.Thumbnail{}, fmt.Errorf("begin a thumbnail: %w", err)
	}
	noted := func() error { return nil }
	if err := s.cfg.Blobs.PutBytes(ctx, t.ObjectKey, picture.Data, hash, noted); err != nil {
		return store.Thumbnail{}, errors.Join(err, s.cfg.Store.AbortObject(ctx, t.ObjectKey, s.now()))
	}
	if err := s.cfg.Store.FinishThumbnail(ctx, t, s.now()); err != nil {
		return store.Thumbnail{}, fmt.Errorf("keep a thumbnail: %w", err)
	}
	// Another process may have made the same one meanwhile; then that one is kept.
	return s.cfg.Store.GetThumbnail(ctx, t.Of, t.Width, t.Height, t.Crop, t.Animated)
}

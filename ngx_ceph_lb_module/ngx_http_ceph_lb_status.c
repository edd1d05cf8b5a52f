#include "ngx_http_ceph_lb_status.h"

char *
ngx_http_ceph_lb_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return NGX_CONF_OK;
}
